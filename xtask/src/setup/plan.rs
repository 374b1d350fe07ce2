//! What to do next on a machine, and why. Pure: facts in, one step out.

use super::machine::{Compiler, Machine};
use crate::outcome::CannotRunHere;
use std::path::PathBuf;

/// The name under which `agent/build.rs` asks rustup for the hooks' compiler.
pub(crate) const TOOLCHAIN: &str = "keepwatch-bpf";
/// A nightly of the days of LLVM 22: later ones write bitcode that our linker may not read. Its date
/// also keeps us from updating a nightly that is somebody else's.
pub(crate) const NIGHTLY: &str = "nightly-2026-05-20";
/// The major version of LLVM in the linker.
pub(crate) const LLVM: u32 = 22;
/// The workspace's `rust-version`.
pub(crate) const OLDEST_RUST: (u32, u32) = (1, 95);
/// The version of bpf-linker.
pub(crate) const LINKER: &str = "0.13.0";
/// What bpf-linker is built from.
pub(crate) const LINKER_PACKAGES: [&str; 4] =
    ["llvm-22-dev", "libpolly-22-dev", "libzstd-dev", "zlib1g-dev"];
/// Debian's compiler, kept recent for browsers, and the sources of core.
pub(crate) const COMPILER_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// What the machine is prepared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// The hooks and the agent.
    Build,
    /// Also what the tests compare with.
    Tests,
    /// Also the guests that run them on other kernels.
    Guests,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Install {
        packages: Vec<&'static str>,
        why: &'static str,
    },
    /// May be refused: then Debian has a compiler.
    AskRustup,
    Link {
        sysroot: PathBuf,
    },
    BuildLinker,
    UnpackPrometheus,
    FetchKernels,
}

impl Step {
    /// What is missing, and what follows.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::Install { packages, why } => format!("{why}: installing {}", packages.join(", ")),
            Self::AskRustup => format!(
                "the hooks need a compiler with the sources of core and LLVM {LLVM} or older: asking \
                 rustup for {NIGHTLY} (about 200 MB; where rustup has none, Debian does)"
            ),
            Self::Link { sysroot } => format!(
                "the build knows the hooks' compiler as `{TOOLCHAIN}`: linking that to {}",
                sysroot.display()
            ),
            Self::BuildLinker => {
                format!("the hooks need bpf-linker {LINKER}: building it (about 90 s)")
            }
            Self::UnpackPrometheus => {
                "the tests scrape with a real Prometheus: unpacking Debian's \
                into target/tools (20 MB; nothing is installed, no service is started)"
                    .into()
            }
            Self::FetchKernels => "the tests run on Debian's kernels too: fetching them into \
                target/vm (220 MB are downloaded, 90 MB kept; nothing is installed)"
                .into(),
        }
    }
}

impl Compiler {
    /// Can build the hooks, and the linker can read what it writes.
    fn suits(&self) -> bool {
        self.has_core && self.llvm <= LLVM && self.release >= OLDEST_RUST
    }
}

/// The next step, or none if everything is there.
pub(crate) fn next(machine: &Machine, purpose: Purpose) -> Result<Option<Step>, CannotRunHere> {
    if let Some(packages) = first(base(machine, purpose)) {
        return install(machine, packages, "the build and the tests use their programs").map(Some);
    }
    if !machine.linked.as_ref().is_some_and(Compiler::suits) {
        return compiler(machine).map(Some);
    }
    if machine.linker.as_deref() != Some(LINKER) {
        return linker(machine).map(Some);
    }
    if purpose >= Purpose::Tests && !machine.prometheus {
        return prometheus(machine).map(Some);
    }
    if purpose >= Purpose::Guests && !machine.kernels {
        return kernels(machine).map(Some);
    }
    Ok(None)
}

fn base(machine: &Machine, purpose: Purpose) -> Vec<&'static str> {
    let mut packages = machine.base_packages.clone();
    let purpose_of = |package: &str| match package {
        "iproute2" | "jsonnet" | "nftables" => Purpose::Tests,
        "qemu-system-x86" | "xz-utils" => Purpose::Guests,
        _ => Purpose::Build,
    };
    packages.retain(|package| purpose >= purpose_of(package));
    packages
}

fn first(packages: Vec<&'static str>) -> Option<Vec<&'static str>> {
    (!packages.is_empty()).then_some(packages)
}

fn compiler(machine: &Machine) -> Result<Step, CannotRunHere> {
    if !machine.rustup {
        return cannot(
            "there is no rustup, and only it can name the hooks' compiler: install rustup",
        );
    }
    if let Some(suitable) = machine.candidates.iter().find(|compiler| compiler.suits()) {
        return Ok(Step::Link { sysroot: suitable.sysroot.clone() });
    }
    if !machine.rustup_asked {
        return Ok(Step::AskRustup);
    }
    let why = "rustup has no compiler for the hooks, Debian has";
    install(machine, COMPILER_PACKAGES.to_vec(), why)
}

fn linker(machine: &Machine) -> Result<Step, CannotRunHere> {
    if let Some(packages) = first(machine.linker_packages.clone()) {
        return install(machine, packages, "bpf-linker is built with LLVM's libraries");
    }
    if !machine.apt {
        return cannot(&format!(
            "there is no bpf-linker {LINKER} and no apt-get to get LLVM with: install LLVM {LLVM} with \
             its headers and Polly, then `LLVM_PREFIX=WHERE-IT-IS cargo install bpf-linker@{LINKER} \
             --locked --no-default-features --features llvm-{LLVM}`"
        ));
    }
    Ok(Step::BuildLinker)
}

fn prometheus(machine: &Machine) -> Result<Step, CannotRunHere> {
    if machine.apt {
        return Ok(Step::UnpackPrometheus);
    }
    cannot(
        "there is no apt-get to get Prometheus with: put `prometheus` and `promtool` into \
         target/tools/prometheus/usr/bin",
    )
}

fn kernels(machine: &Machine) -> Result<Step, CannotRunHere> {
    if machine.apt {
        return Ok(Step::FetchKernels);
    }
    cannot("there is no apt-get to get Debian's kernels with: `cargo xtask vm` needs a Debian")
}

/// apt-get as root, or what its administrator has to type.
fn install(
    machine: &Machine,
    packages: Vec<&'static str>,
    why: &'static str,
) -> Result<Step, CannotRunHere> {
    let names = packages.join(" ");
    if !machine.apt {
        return cannot(&format!(
            "{why}, but there is no apt-get: install what Debian calls {names}"
        ));
    }
    if !machine.root {
        return cannot(&format!(
            "{why}, but we are not root and there is no sudo: as root, `apt-get install {names}`"
        ));
    }
    Ok(Step::Install { packages, why })
}

fn cannot<T>(why: &str) -> Result<T, CannotRunHere> {
    Err(CannotRunHere(format!("setup cannot go on: {why}")))
}

/// What is there already, in words.
pub(crate) fn facts(machine: &Machine, purpose: Purpose) -> Vec<String> {
    let mut facts = Vec::new();
    if base(machine, purpose).is_empty() {
        facts.push("a C compiler, ss, ip and jsonnet are here".into());
    }
    if let Some(compiler) = machine.linked.as_ref().filter(|compiler| compiler.suits()) {
        let Compiler { sysroot, release: (major, minor), llvm, .. } = compiler;
        let place = sysroot.display();
        facts.push(format!("{TOOLCHAIN} is Rust {major}.{minor} with LLVM {llvm} in {place}"));
    }
    if machine.linker.as_deref() == Some(LINKER) {
        facts.push(format!("bpf-linker is {LINKER}"));
    }
    if purpose >= Purpose::Tests && machine.prometheus {
        facts.push("Prometheus is in target/tools".into());
    }
    if purpose >= Purpose::Guests && machine.kernels {
        facts.push("kernels for guests are in target/vm".into());
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::{
        COMPILER_PACKAGES, Compiler, LINKER_PACKAGES, Machine, Purpose, Step, facts, next,
    };
    use std::path::PathBuf;

    /// Debian with rustup's stable Rust and a C compiler, nothing else.
    fn fresh() -> Machine {
        Machine {
            apt: true,
            root: true,
            rustup: true,
            linker_packages: LINKER_PACKAGES.to_vec(),
            base_packages: vec!["iproute2"],
            ..Machine::default()
        }
    }

    fn ready() -> Machine {
        Machine {
            linked: Some(compiler("/usr", 22)),
            linker: Some("0.13.0".into()),
            prometheus: true,
            kernels: true,
            base_packages: vec![],
            ..fresh()
        }
    }

    fn compiler(sysroot: &str, llvm: u32) -> Compiler {
        Compiler { sysroot: sysroot.into(), release: (1, 96), llvm, has_core: true }
    }

    fn all(mut machine: Machine, purpose: Purpose) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(step) = next(&machine, purpose).expect("nothing stops us") {
            assert!(!steps.contains(&step), "{step:?} twice");
            machine = machine.after(&step);
            steps.push(step);
        }
        steps
    }

    fn link(sysroot: &str) -> Step {
        Step::Link { sysroot: PathBuf::from(sysroot) }
    }

    fn installs(step: &Step) -> &[&'static str] {
        match step {
            Step::Install { packages, .. } => packages,
            other => panic!("{other:?} installs nothing"),
        }
    }

    #[test]
    fn a_fresh_machine_is_brought_all_the_way() {
        let steps = all(fresh(), Purpose::Tests);
        assert_eq!(installs(&steps[0]), ["iproute2"]);
        assert_eq!(steps[1], Step::AskRustup);
        assert!(matches!(steps[2], Step::Link { .. }));
        assert_eq!(installs(&steps[3]), LINKER_PACKAGES);
        assert_eq!(steps[4..], [Step::BuildLinker, Step::UnpackPrometheus]);
    }

    #[test]
    fn only_guests_need_an_emulator_and_kernels() {
        let base_packages = vec!["qemu-system-x86"];
        let machine = Machine { kernels: false, base_packages, ..ready() };
        assert_eq!(all(machine.clone(), Purpose::Tests), []);
        let steps = all(machine, Purpose::Guests);
        assert_eq!(installs(&steps[0]), ["qemu-system-x86"]);
        assert_eq!(steps[1..], [Step::FetchKernels]);
    }

    #[test]
    fn a_build_needs_nothing_of_the_tests() {
        let steps = all(fresh(), Purpose::Build);
        assert_eq!(steps[0], Step::AskRustup);
        assert!(!steps.contains(&Step::UnpackPrometheus));
    }

    #[test]
    fn a_machine_that_has_everything_is_left_alone() {
        assert_eq!(all(ready(), Purpose::Guests), []);
        assert_eq!(facts(&ready(), Purpose::Guests).len(), 5);
    }

    #[test]
    fn without_rustups_servers_debians_compiler_is_taken() {
        let steps = all(Machine { rustup_asked: true, ..fresh() }, Purpose::Build);
        assert_eq!(installs(&steps[0]), COMPILER_PACKAGES);
        assert_eq!(steps[1], link("/usr"));
    }

    #[test]
    fn a_compiler_that_is_here_is_linked_and_none_fetched() {
        let candidates = vec![compiler("/nightly", 22), compiler("/usr", 22)];
        let machine = Machine { linked: None, candidates, ..ready() };
        assert_eq!(all(machine, Purpose::Tests), [link("/nightly")]);
    }

    #[test]
    fn a_compiler_with_a_newer_llvm_than_the_linker_is_passed_over() {
        let candidates = vec![compiler("/nightly", 23), compiler("/usr", 22)];
        let machine = Machine { linked: Some(compiler("/nightly", 23)), candidates, ..ready() };
        assert_eq!(all(machine, Purpose::Tests), [link("/usr")]);
    }

    #[test]
    fn a_compiler_without_the_sources_of_core_or_too_old_is_passed_over() {
        let bare = Compiler { has_core: false, ..compiler("/bare", 22) };
        let old = Compiler { release: (1, 85), ..compiler("/old", 19) };
        let machine =
            Machine { linked: Some(bare.clone()), candidates: vec![bare, old], ..ready() };
        assert_eq!(next(&machine, Purpose::Build), Ok(Some(Step::AskRustup)));
    }

    #[test]
    fn another_version_of_the_linker_is_replaced() {
        let machine = Machine { linker: Some("0.9.13".into()), linker_packages: vec![], ..ready() };
        assert_eq!(all(machine, Purpose::Build), [Step::BuildLinker]);
    }

    #[test]
    fn who_cannot_become_root_is_told_the_command() {
        let error = next(&Machine { root: false, ..fresh() }, Purpose::Tests).expect_err("a stop");
        assert!(error.0.contains("apt-get install iproute2"), "{error}");
    }

    #[test]
    fn a_system_without_apt_is_told_what_to_install() {
        let bare = Machine { apt: false, linker: None, linker_packages: vec![], ..ready() };
        let error = next(&bare, Purpose::Build).expect_err("a stop");
        assert!(error.0.contains("cargo install bpf-linker@0.13.0"), "{error}");
        let no_rustup = Machine { rustup: false, ..fresh() };
        let error = next(&no_rustup, Purpose::Build).expect_err("a stop");
        assert!(error.0.contains("install rustup"), "{error}");
    }
}
