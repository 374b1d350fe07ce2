//! The dashboards, rules and alerts in `dashboards/`: what Grafana, Prometheus and people on call
//! expect of them, and that a real Prometheus answers every panel.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod coverage;
mod lint;
mod live;
mod rules;

use keepwatch_tests::dashboards::mixin::{self, Mixin, OPERATOR_RULES};
use std::{env, fs};

#[test]
fn generated_dashboards_are_fresh() {
    let folder = mixin::folder().join("generated");
    let bless = env::var_os("KEEPWATCH_BLESS").is_some();
    let Mixin { files: fresh, operator_rules, .. } = Mixin::shipped();
    let mut stale = Vec::new();
    let named = fresh.iter().map(|(name, text)| (name.as_str(), text));
    for (name, text) in named.chain([(OPERATOR_RULES, operator_rules)]) {
        if fs::read_to_string(folder.join(name)).is_ok_and(|found| found == *text) {
            continue;
        }
        if bless {
            fs::write(folder.join(name), text).unwrap();
        } else {
            stale.push(name);
        }
    }
    assert!(stale.is_empty(), "{stale:?} are stale: run `cargo xtask codegen`");
    for file in fs::read_dir(&folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(fresh.contains_key(&name), "{name} is not generated from anything: remove it");
    }
}
