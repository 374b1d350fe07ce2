//! `cargo xtask fresh`: set-up, tried where nothing is prepared: in roots of a bare Debian.

mod installed;
pub(crate) mod root;

use crate::{
    command,
    outcome::{CannotRunHere, talk},
    place,
    purpose::Purpose,
    setup,
    test::say,
};
use anyhow::{Context as _, Result, bail};
use root::{Bed, DebianRoot, PACKAGES};
use std::{
    fmt::Write as _,
    process::ExitCode,
    time::{Duration, Instant},
};

/// Tries set-up on clean clones of the last commit, in roots of a bare Debian, and shows what it did.
#[derive(clap::Args)]
pub(crate) struct FreshOptions {
    /// Only these roots: `bare`, `conflicts`, `user`.
    #[arg(long)]
    root: Vec<String>,
    /// Only what takes two minutes: the programs of the tests, in the root `conflicts`.
    #[arg(long, conflicts_with = "root")]
    quick: bool,
}

/// A root, and what is done in it.
struct Scenario {
    name: &'static str,
    what: &'static str,
    /// Prepares the root, as root.
    prepare: &'static str,
    as_user: bool,
    /// apt knows updates and security too.
    all_suites: bool,
    steps: &'static [RootStep],
}

struct RootStep {
    name: &'static str,
    /// For `sh`, in the clone.
    command: &'static str,
    exit_code: i32,
}

const fn step(name: &'static str, command: &'static str) -> RootStep {
    RootStep { name, command, exit_code: 0 }
}

const SETUP: RootStep = step("cargo xtask setup", "cargo xtask setup");
/// Each starts, with the libraries that it finds.
const PROGRAMS: RootStep = step(
    "every program of the tests starts",
    "PATH=$PWD/target/tools/bin:$PATH; set -ex; ip -V; ss -V; jsonnet --version; nft --version; \
     prometheus --version; promtool --version; qemu-system-x86_64 --version; xz --version; zstd --version",
);

const BARE: Scenario = Scenario {
    name: "bare",
    what: "Debian's main suite alone, with Rust, gcc, git, Python and certificates",
    prepare: "true",
    as_user: false,
    all_suites: false,
    steps: &[
        SETUP,
        PROGRAMS,
        step("cargo xtask run (release build, then --help)", "cargo xtask run -- --help"),
    ],
};

/// Newer packages that exclude those which set-up would install if it installed any; packages that the
/// administrator forbids; another architecture.
const CONFLICTS_PREPARED: &str = r#"
cd /tmp
conflicting() {
    mkdir -p "$1/DEBIAN"
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: -\nDescription: -\n%s\n' "$1" "$2" "$3" > "$1/DEBIAN/control"
    dpkg-deb --build "$1" "$1.deb"
    dpkg --install "$1.deb"
}
conflicting qemu-utils 1:99 'Breaks: qemu-system-common (<< 1:99), qemu-system-x86 (<< 1:99), qemu-system-data (<< 1:99)'
conflicting libzstd-dev 99 'Conflicts: libzstd1 (>= 98)'
conflicting rustup 99 'Conflicts: rustc, rustc-web, cargo'
conflicting libllvm22 99 'Section: libs'
printf 'Package: jsonnet nftables prometheus\nPin: release *\nPin-Priority: -1\n' > /etc/apt/preferences.d/never
apt-mark hold libzstd-dev qemu-utils zlib1g
dpkg --add-architecture i386
"#;

const CONFLICTS: Scenario = Scenario {
    name: "conflicts",
    what: "all suites, with newer packages that exclude those of the tests, held and forbidden ones",
    prepare: CONFLICTS_PREPARED,
    as_user: false,
    all_suites: true,
    steps: &[
        SETUP,
        PROGRAMS,
        step(
            "a test of this machine's kernel",
            "cargo build --bin keepwatch && KEEPWATCH_BIN=$PWD/target/debug/keepwatch \
             cargo test -p keepwatch-tests --test life sigterm",
        ),
    ],
};

const QUICK: Scenario = Scenario {
    steps: &[step("cargo xtask setup --tools", "cargo xtask setup --tools"), PROGRAMS],
    ..CONFLICTS
};

const USER: Scenario = Scenario {
    name: "user",
    what: "a user without sudo, where apt never fetched its lists and rustup's servers are out of reach",
    prepare: "rm -rf /var/lib/apt/lists/*",
    as_user: true,
    all_suites: true,
    steps: &[
        step(
            "cargo xtask setup, with Debian's compiler",
            // No server listens on this port.
            "RUSTUP_DIST_SERVER=http://127.0.0.1:9 cargo xtask setup; ls -d target/tools/rust",
        ),
        PROGRAMS,
        step("cargo build --bin keepwatch, hooks included", "cargo build --bin keepwatch"),
        RootStep {
            name: "cargo xtask test says why not",
            command: "cargo xtask test",
            exit_code: 3,
        },
    ],
};

pub(crate) fn run(options: &FreshOptions) -> Result<ExitCode> {
    let FreshOptions { root, quick } = options;
    if !command::is_root() {
        let why = "debootstrap and mounts need root: run `cargo xtask fresh` as root";
        return Err(CannotRunHere(why.into()).into());
    }
    let scenarios: Vec<&Scenario> = if *quick { vec![&QUICK] } else { chosen(root)? };
    setup::prepare_tools(Purpose::Roots)?;
    let bed = Bed::new(place::root().join("target/fresh"), PACKAGES)?;
    let mut report = String::new();
    for scenario in scenarios {
        report += &tried(&bed, scenario).with_context(|| format!("root {}", scenario.name))?;
    }
    say(&report)?;
    Ok(ExitCode::SUCCESS)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Scenario>> {
    const ALL: [&Scenario; 3] = [&BARE, &CONFLICTS, &USER];
    let known = ALL.map(|scenario| scenario.name);
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no such root as {name}; help: there are {}", known.join(", "));
    }
    let wanted =
        |scenario: &&Scenario| names.is_empty() || names.iter().any(|name| name == scenario.name);
    Ok(ALL.into_iter().filter(wanted).collect())
}

/// Does all of a scenario; the lines of the report.
fn tried(bed: &Bed, scenario: &Scenario) -> Result<String> {
    let Scenario { name, what, prepare, as_user, all_suites, steps } = scenario;
    talk(format_args!("fresh {name}: {what}"));
    let root = DebianRoot::new(bed, name, *as_user)?;
    root.prepare(prepare, *all_suites)?;
    let before = root.packages()?;
    let mut report = format!("\n{name}: {what}\n");
    for RootStep { name, command, exit_code } in *steps {
        let seconds = timed(|| root.run(command, *exit_code))?.as_secs();
        talk(format_args!("  {seconds:4} s  {name}"));
        writeln!(report, "  {seconds:4} s  {name}")?;
    }
    let changes = installed::compare(&before, &root.packages()?);
    let harm: Vec<&String> = changes.lost.iter().chain(&changes.changed).collect();
    if !harm.is_empty() {
        bail!(
            "set-up changed the machine's packages: {harm:?}; help: see {}",
            root.log().display()
        );
    }
    writeln!(report, "  installed: {}", or_nothing(&changes.added))?;
    writeln!(report, "  unpacked into target/tools: {} packages", root.n_unpacked())?;
    writeln!(report, "  lost, upgraded or downgraded: nothing")?;
    root.remove()?;
    Ok(report)
}

fn or_nothing(names: &[String]) -> String {
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}

#[expect(clippy::disallowed_methods, reason = "this is a stopwatch for the reader")]
fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::{PROGRAMS, chosen};
    use crate::{purpose::Purpose, tool::TOOLS};

    #[test]
    fn roots_are_chosen_by_name() {
        assert_eq!(chosen(&[]).expect("all").len(), 3);
        assert_eq!(chosen(&["user".into()]).expect("one")[0].name, "user");
        assert!(chosen(&["user".into(), "nosuch".into()]).is_err());
    }

    #[test]
    fn every_program_of_the_tests_is_started() {
        for tool in TOOLS.iter().filter(|tool| tool.purpose < Purpose::Roots) {
            assert!(PROGRAMS.command.contains(&format!(" {} -", tool.program)), "{tool:?}");
        }
    }
}
