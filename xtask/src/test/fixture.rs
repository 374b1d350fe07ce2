//! The runner, tried on real binaries: each has one test, which ends in one of the ways in which tests end.

use super::{binary::Binary, round::TestRound, skip::HostEquipment};
use crate::test::summary::Summary;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
    thread,
    time::Duration,
};

/// The test does what its binary is called, up to a hyphen.
const SOURCE: &str = r#"
use std::{env, fs, path::Path, process::Command, thread, time::Duration};

#[test]
fn acts() {
    let this = env::current_exe().expect("our path");
    let name = this.file_name().and_then(|name| name.to_str()).expect("a name");
    match name.split('-').next().expect("a word") {
        "passes" => {}
        "fails" => panic!("as always"),
        "fails_once" => {
            let mark = Path::new(&env::var("MARKS").expect("where to remember")).join(name);
            assert!(mark.exists() || fs::write(mark, "").is_err(), "the first time");
        }
        "skips" => eprintln!("skipped: psql, which is not installed"),
        "skips_what_is_here" => eprintln!("skipped: curl, for which nobody looked well"),
        "aborts" => std::process::abort(),
        "exits" => std::process::exit(0),
        "hangs" => loop { thread::sleep(Duration::from_secs(1)) },
        "leaves_a_program" => {
            let sleeper = Command::new("sleep").arg("1000").spawn().expect("start sleep");
            fs::write("sleeper", sleeper.id().to_string()).expect("remember it");
            std::process::abort()
        }
        "prints_a_result" => println!(
            "running 5 tests\ntest other ... FAILED\ntest result: FAILED. 0 passed; 5 failed; 0 ignored;"
        ),
        other => panic!("{other}: no such act"),
    }
}
"#;

/// A folder with the fixture, gone when dropped.
struct Fixture(PathBuf);

impl Fixture {
    fn build() -> Self {
        let folder = env::temp_dir().join(format!("keepwatch-xtask-{}", process::id()));
        fs::create_dir(&folder).expect("a new temporary folder");
        let fixture = Self(folder);
        for (name, source) in [("acts", SOURCE), ("empty", "")] {
            let file = fixture.0.join(name).with_extension("rs");
            fs::write(&file, source).expect("write the fixture");
            let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
            rustc.args(["--edition=2024", "--test", "-o"]).arg(fixture.0.join(name)).arg(&file);
            assert!(rustc.status().expect("start rustc").success(), "{name} is not built");
        }
        fixture
    }

    fn binary(&self, name: &str) -> Binary {
        let executable = self.0.join(name);
        if !executable.exists() {
            fs::hard_link(self.0.join("acts"), &executable).expect("another name for it");
        }
        Binary::of_fixture(&self.0, name, executable)
    }

    /// What these binaries come to, on a machine that has curl alone.
    fn sum(&self, names: &[&str], filter: Option<&str>) -> Summary {
        let binaries: Vec<_> = names.iter().map(|name| self.binary(name)).collect();
        let marks = self.0.join("marks");
        drop(fs::remove_dir_all(&marks));
        fs::create_dir(&marks).expect("a folder");
        let round = TestRound {
            binaries: &binaries,
            filter: filter.map(Into::into),
            args: Vec::new(),
            environment: vec![("MARKS", marks.into())],
            machine: HostEquipment { symbols: String::new(), has_program: |name| name == "curl" },
            silent_for: Duration::from_secs(if names.contains(&"hangs") { 1 } else { 60 }),
        };
        round.perform(|_| Ok(())).expect("all of it runs")
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn each_way_to_end_has_its_last_line_and_a_crash_stays_whatever_is_repeated() {
    let fixture = Fixture::build();
    let green = [
        (&["passes"][..], "1 passed, 0 failed, 0 skipped"),
        (&["skips"], "0 passed, 0 failed, 1 skipped"),
        (&["passes", "fails_once"], "2 passed, 0 failed, 0 skipped, 1 flaky: fails_once::acts"),
        (&["prints_a_result"], "1 passed, 0 failed, 0 skipped"),
    ];
    let red = [
        (&["passes", "fails"][..], "1 passed, 1 failed, 0 skipped"),
        (&["skips_what_is_here"], "0 passed, 1 failed, 0 skipped"),
        (&["aborts", "passes"], "1 passed, 1 failed, 0 skipped, 1 crashed: aborts"),
        (&["exits"], "0 passed, 1 failed, 0 skipped, 1 crashed: exits"),
        (&["hangs"], "0 passed, 1 failed, 0 skipped, 1 crashed: hangs"),
        (&["empty"], "0 passed, 1 failed, 0 skipped"),
        (
            &["aborts", "fails_once"],
            "1 passed, 1 failed, 0 skipped, 1 crashed: aborts; 1 flaky: fails_once::acts",
        ),
        (
            &["fails", "fails_once", "skips", "aborts"],
            "1 passed, 2 failed, 1 skipped, 1 crashed: aborts; 1 flaky: fails_once::acts",
        ),
    ];
    let cases = green.map(|case| (case, true)).into_iter().chain(red.map(|case| (case, false)));
    for ((names, expected), is_green) in cases {
        let sum = fixture.sum(names, None);
        assert_eq!(sum.to_string().lines().last(), Some(expected), "{names:?}");
        assert_eq!(sum.is_green(), is_green, "{names:?}");
    }

    let many: Vec<String> = (0..9).map(|number| format!("fails_once-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(fixture.sum(&many, None).to_string(), "0 passed, 9 failed, 0 skipped");
    assert_eq!(fixture.sum(&["passes"], Some("nothing has this name")), Summary::default());

    let sum = fixture.sum(&["leaves_a_program"], None);
    assert!(sum.crashed[0].how.contains("SIGABRT"), "{sum:?}");
    assert_is_gone(&fs::read_to_string(fixture.0.join("sleeper")).expect("it was started"));
}

/// A signal that kills is on its way for a moment.
#[track_caller]
fn assert_is_gone(pid: &str) {
    let is_here = || {
        let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    let gone = (0..100_000).any(|_| {
        thread::yield_now();
        !is_here()
    });
    assert!(gone, "process {pid} is left behind");
}
