//! `cargo xtask fuzz`: bytes of all kinds for what reads bytes of others. By libFuzzer, whose instruments the workspace's own Rust can set.

use crate::{
    command::{announced, cargo},
    outcome::talk,
    place,
};
use anyhow::{Context as _, Result, bail};
use std::{fs, process::{Command, ExitCode}};

/// What `agent/src/fuzzed.rs` has, and `tests/fuzz/targets` a program for each.
const TARGETS: [&str; 8] =
    ["record", "btf", "config", "policy", "web_config", "query", "cgroup", "typed"];
/// As `cargo fuzz --sanitizer none` sets them.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares";
/// Flags with a target of its own are not for build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Feeds what reads bytes of others with bytes of all kinds.
#[derive(clap::Args)]
pub(crate) struct FuzzOptions {
    /// Only these targets: record, btf, config, policy, web_config, query, cgroup, typed.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS))]
    targets: Vec<String>,
    /// Seconds for each target.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Add to the corpora in the tree what reaches more of the code than they do, the least of it.
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(options: &FuzzOptions) -> Result<ExitCode> {
    let folder = place::root().join("tests/fuzz");
    let built = place::root().join("target/fuzz");
    let mut build = cargo(["build", "--release", "--locked", "--target", TARGET, "--manifest-path"]);
    build.arg(folder.join("Cargo.toml")).env("CARGO_TARGET_DIR", &built);
    build.env("RUSTFLAGS", FLAGS).env("AYA_BUILD_SKIP", "1");
    announced(&mut build, "fix what the compiler says; libFuzzer needs a C++ compiler (g++)")?;
    let all = TARGETS.map(str::to_owned);
    let chosen = if options.targets.is_empty() { &all[..] } else { &options.targets };
    let mut broken = Vec::new();
    for name in chosen {
        let (seeds, found) = (folder.join("corpus").join(name), built.join("corpus").join(name));
        fs::create_dir_all(&found).with_context(|| format!("make {}", found.display()))?;
        let program = built.join(TARGET).join("release").join(name);
        let artifacts = format!("-artifact_prefix={}/", built.display());
        let mut fuzz = Command::new(&program);
        fuzz.arg(format!("-max_total_time={}", options.seconds)).arg(artifacts);
        fuzz.args(["-timeout=10", "-rss_limit_mb=1024", "-max_len=8192", "-print_final_stats=1"]);
        if announced(fuzz.arg(&found).arg(&seeds), "the input is in the file that is named above").is_err() {
            broken.push(name.as_str());
        }
        if options.keep {
            let mut merge = Command::new(&program);
            announced(merge.arg("-merge=1").arg(&seeds).arg(&found), "read what it says above")?;
        }
    }
    if !broken.is_empty() {
        bail!("{} broke; help: mend it, and keep the input as a test", broken.join(", "));
    }
    talk(format_args!("fuzz: {} targets held for {} s each", chosen.len(), options.seconds));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::TARGETS;
    use crate::place;
    use std::{collections::BTreeSet, fs};

    #[test]
    fn each_target_has_a_program_a_function_and_a_corpus() {
        let folder = place::root().join("tests/fuzz");
        let names = |folder: &str| -> BTreeSet<String> {
            let entries = fs::read_dir(folder).expect("a folder").flatten();
            entries.filter_map(|it| Some(it.path().file_stem()?.to_str()?.to_owned())).collect()
        };
        let wanted: BTreeSet<String> = TARGETS.map(str::to_owned).into();
        assert_eq!(names(folder.join("targets").to_str().expect("a path")), wanted);
        assert_eq!(names(folder.join("corpus").to_str().expect("a path")), wanted);
        let source = fs::read_to_string(place::root().join("agent/src/fuzzed.rs")).expect("it");
        for name in TARGETS {
            assert!(source.contains(&format!("pub fn {name}(data: &[u8])")), "{name}");
        }
    }
}
