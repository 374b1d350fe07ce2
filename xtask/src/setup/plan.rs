//! What to do next on a machine, and why. Pure: facts in, one step out.

use super::{
    machine::{Compiler, Machine},
    pinned::{COMPILER_PACKAGES, LINKER, LLVM, NIGHTLY, OLDEST_RUST, TOOLCHAIN},
};
use crate::{outcome::CannotRunHere, purpose::Purpose, tool};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// May be refused: then Debian has a compiler.
    AskRustup,
    UnpackCompiler,
    Link {
        toolchain: PathBuf,
    },
    UnpackLlvm,
    BuildLinker,
    UnpackTools {
        packages: Vec<&'static str>,
    },
    FetchKernels,
}

impl Step {
    /// What is missing, and what follows.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::AskRustup => format!(
                "the hooks need a compiler with the sources of core and LLVM {LLVM} or older: asking \
                 rustup for {NIGHTLY} (about 200 MB; where rustup has none, Debian does)"
            ),
            Self::UnpackCompiler => format!(
                "rustup has no compiler for the hooks, Debian has: unpacking {} into target/tools (160 MB \
                 are downloaded; nothing is installed)",
                COMPILER_PACKAGES.join(", ")
            ),
            Self::Link { toolchain } => format!(
                "the build knows the hooks' compiler as `{TOOLCHAIN}`: linking that to {}",
                toolchain.display()
            ),
            Self::UnpackLlvm => format!(
                "bpf-linker is linked to LLVM {LLVM}: unpacking it into target/tools (50 MB are \
                 downloaded; nothing is installed)"
            ),
            Self::BuildLinker => {
                format!("the hooks need bpf-linker {LINKER}: building it (about 90 s)")
            }
            Self::UnpackTools { packages } => format!(
                "programs are needed that are not here: unpacking {} into target/tools (for tests and guests \
                 70 MB if all are missing; nothing is installed, no service is started)",
                packages.join(", ")
            ),
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

impl Machine {
    /// The machine as it would be if the step worked.
    fn after(mut self, step: &Step) -> Self {
        let suitable = |toolchain: &Path| Compiler {
            toolchain: toolchain.to_path_buf(),
            release: OLDEST_RUST,
            llvm: LLVM,
            has_core: true,
        };
        match step {
            Step::AskRustup => self.candidates.push(suitable(Path::new("FOLDER-OF-NIGHTLY"))),
            Step::UnpackCompiler => self.candidates.push(suitable(&tool::toolchain())),
            Step::Link { toolchain } => self.linked = Some(suitable(toolchain)),
            Step::UnpackLlvm => self.llvm = true,
            Step::BuildLinker => self.linker = Some(LINKER.into()),
            Step::UnpackTools { packages } => {
                self.missing_tools.retain(|tool| !packages.contains(&tool.package));
            }
            Step::FetchKernels => self.kernels = true,
        }
        self
    }
}

/// The next step, or none if everything is there.
pub(crate) fn next(machine: &Machine, purpose: Purpose) -> Result<Option<Step>, CannotRunHere> {
    if !machine.linked.as_ref().is_some_and(Compiler::suits) {
        return compiler(machine).map(Some);
    }
    if machine.linker.as_deref() != Some(LINKER) {
        return linker(machine).map(Some);
    }
    let packages = packages(machine, purpose);
    if !packages.is_empty() {
        return tools(machine, packages).map(Some);
    }
    if purpose.includes(Purpose::Guests) && !machine.kernels {
        return kernels(machine).map(Some);
    }
    Ok(None)
}

/// The step that gets programs for the tests and guests, if one is missing; nothing for the build.
pub(crate) fn next_of_tools(
    machine: &Machine,
    purpose: Purpose,
) -> Result<Option<Step>, CannotRunHere> {
    let packages = packages(machine, purpose);
    if packages.is_empty() { Ok(None) } else { tools(machine, packages).map(Some) }
}

/// All steps that are left if each works.
pub(crate) fn rest(machine: &Machine, purpose: Purpose) -> Result<Vec<Step>, CannotRunHere> {
    let (mut machine, mut steps) = (machine.clone(), Vec::new());
    while let Some(step) = next(&machine, purpose)? {
        machine = machine.after(&step);
        steps.push(step);
    }
    Ok(steps)
}

/// The packages of the tools that are missing for a purpose, each once.
fn packages(machine: &Machine, purpose: Purpose) -> Vec<&'static str> {
    let wanted = machine.missing_tools.iter().filter(|tool| purpose.includes(tool.purpose));
    let packages: BTreeSet<_> = wanted.map(|tool| tool.package).collect();
    packages.into_iter().collect()
}

fn compiler(machine: &Machine) -> Result<Step, CannotRunHere> {
    if !machine.rustup {
        return cannot(
            "there is no rustup, and only it can name the hooks' compiler: install rustup",
        );
    }
    if let Some(suitable) = machine.candidates.iter().find(|compiler| compiler.suits()) {
        return Ok(Step::Link { toolchain: suitable.toolchain.clone() });
    }
    if !machine.rustup_asked {
        return Ok(Step::AskRustup);
    }
    if machine.apt {
        return Ok(Step::UnpackCompiler);
    }
    cannot(&format!(
        "rustup has no compiler for the hooks, and there is no apt-get to get Debian's with: \
         `rustup toolchain install {NIGHTLY} --component rust-src` must work, read what it says above"
    ))
}

fn linker(machine: &Machine) -> Result<Step, CannotRunHere> {
    if machine.llvm {
        return Ok(Step::BuildLinker);
    }
    if machine.apt {
        return Ok(Step::UnpackLlvm);
    }
    cannot(&format!(
        "there is no bpf-linker {LINKER} and no apt-get to get LLVM with: install LLVM {LLVM}, then \
         `LLVM_PREFIX=WHERE-IT-IS cargo install bpf-linker@{LINKER} --locked --no-default-features \
         --features llvm-{LLVM}`"
    ))
}

fn tools(machine: &Machine, packages: Vec<&'static str>) -> Result<Step, CannotRunHere> {
    if machine.apt {
        return Ok(Step::UnpackTools { packages });
    }
    let names = packages.join(" ");
    cannot(&format!(
        "programs are needed that are not here, and there is no apt-get to get them with: \
         install what Debian calls {names}"
    ))
}

fn kernels(machine: &Machine) -> Result<Step, CannotRunHere> {
    if machine.apt {
        return Ok(Step::FetchKernels);
    }
    cannot("there is no apt-get to get Debian's kernels with: `cargo xtask vm` needs a Debian")
}

fn cannot<T>(why: &str) -> Result<T, CannotRunHere> {
    Err(CannotRunHere(format!("setup cannot go on: {why}")))
}

/// What is there already, in words.
pub(crate) fn facts(machine: &Machine, purpose: Purpose) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(compiler) = machine.linked.as_ref().filter(|compiler| compiler.suits()) {
        let Compiler { toolchain, release: (major, minor), llvm, .. } = compiler;
        let place = toolchain.display();
        facts.push(format!("{TOOLCHAIN} is Rust {major}.{minor} with LLVM {llvm} in {place}"));
    }
    if machine.linker.as_deref() == Some(LINKER) {
        facts.push(format!("bpf-linker is {LINKER}"));
    }
    if purpose.includes(Purpose::Tests) && packages(machine, purpose).is_empty() {
        facts.push("the programs that tests and guests run are here or in target/tools".into());
    }
    if purpose.includes(Purpose::Guests) && machine.kernels {
        facts.push("kernels for guests are in target/vm".into());
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::{Compiler, Machine, Purpose, Step, facts, next, next_of_tools, rest};
    use crate::tool::{self, TOOLS, Tool};
    use std::path::PathBuf;

    /// Debian with rustup's stable Rust and a C compiler, nothing else. Packages of whichever version,
    /// held ones, and a user without sudo make no difference: nothing asks dpkg, no step needs root.
    fn fresh() -> Machine {
        Machine {
            apt: true,
            rustup: true,
            missing_tools: TOOLS.iter().collect(),
            ..Machine::default()
        }
    }

    fn ready() -> Machine {
        Machine {
            linked: Some(compiler("/usr", 22)),
            linker: Some("0.13.0".into()),
            llvm: true,
            kernels: true,
            missing_tools: vec![],
            ..fresh()
        }
    }

    fn compiler(toolchain: &str, llvm: u32) -> Compiler {
        Compiler { toolchain: toolchain.into(), release: (1, 96), llvm, has_core: true }
    }

    fn all(machine: &Machine, purpose: Purpose) -> Vec<Step> {
        let steps = rest(machine, purpose).expect("nothing stops us");
        for (number, step) in steps.iter().enumerate() {
            assert!(!steps[..number].contains(step), "{step:?} twice");
        }
        steps
    }

    fn link(toolchain: &str) -> Step {
        Step::Link { toolchain: PathBuf::from(toolchain) }
    }

    fn missing(program: &str) -> Vec<&'static Tool> {
        TOOLS.iter().filter(|tool| tool.program == program).collect()
    }

    #[test]
    fn a_fresh_machine_is_brought_all_the_way() {
        let steps = all(&fresh(), Purpose::Guests);
        assert_eq!(steps[0], Step::AskRustup);
        assert!(matches!(steps[1], Step::Link { .. }));
        assert_eq!(steps[2..4], [Step::UnpackLlvm, Step::BuildLinker]);
        let packages = [
            "iproute2",
            "jsonnet",
            "nftables",
            "prometheus",
            "qemu-system-x86",
            "xz-utils",
            "zstd",
        ];
        assert_eq!(steps[4], Step::UnpackTools { packages: packages.to_vec() });
        assert_eq!(steps[5..], [Step::FetchKernels]);
    }

    #[test]
    fn a_build_needs_nothing_of_the_tests() {
        let steps = all(&fresh(), Purpose::Build);
        assert!(matches!(
            &steps[..],
            [Step::AskRustup, Step::Link { .. }, Step::UnpackLlvm, Step::BuildLinker]
        ));
    }

    #[test]
    fn only_guests_need_an_emulator_and_kernels() {
        let missing_tools = missing("qemu-system-x86_64");
        let machine = Machine { kernels: false, missing_tools, ..ready() };
        assert_eq!(all(&machine, Purpose::Tests), []);
        let unpack = Step::UnpackTools { packages: vec!["qemu-system-x86"] };
        assert_eq!(all(&machine, Purpose::Guests), [unpack, Step::FetchKernels]);
    }

    #[test]
    fn programs_for_tests_can_be_had_without_a_compiler_for_the_hooks() {
        let Ok(Some(Step::UnpackTools { packages })) = next_of_tools(&fresh(), Purpose::Guests)
        else {
            panic!("the first step unpacks tools");
        };
        assert!(packages.contains(&"qemu-system-x86") && !packages.contains(&"debootstrap"));
        assert_eq!(next_of_tools(&ready(), Purpose::Roots), Ok(None));
    }

    #[test]
    fn only_set_ups_own_test_needs_a_root_of_its_own() {
        let machine = Machine { missing_tools: missing("debootstrap"), ..ready() };
        assert_eq!(all(&machine, Purpose::Guests), []);
        let unpack = Step::UnpackTools { packages: vec!["debootstrap"] };
        assert_eq!(all(&machine, Purpose::Roots), [unpack]);
    }

    #[test]
    fn packages_need_what_packs_them_and_nothing_of_the_tests() {
        let unpacked = |purpose| match next_of_tools(&fresh(), purpose) {
            Ok(Some(Step::UnpackTools { packages })) => packages,
            other => panic!("{other:?}"),
        };
        assert_eq!(unpacked(Purpose::Packages), ["rpm"]);
        let foreign = ["binutils-aarch64-linux-gnu", "g++-aarch64-linux-gnu", "rpm"];
        assert_eq!(unpacked(Purpose::ForeignPackages), foreign);
        assert!(!unpacked(Purpose::Roots).contains(&"rpm"));
        let machine = Machine { kernels: false, ..ready() };
        assert_eq!(all(&machine, Purpose::ForeignPackages), []);
    }

    #[test]
    fn a_machine_that_has_everything_is_left_alone() {
        assert_eq!(all(&ready(), Purpose::Roots), []);
        assert_eq!(facts(&ready(), Purpose::Guests).len(), 4);
    }

    #[test]
    fn without_rustups_servers_debians_compiler_is_unpacked() {
        let steps = all(&Machine { rustup_asked: true, ..fresh() }, Purpose::Build);
        assert_eq!(steps[0], Step::UnpackCompiler);
        assert_eq!(steps[1], Step::Link { toolchain: tool::toolchain() });
    }

    #[test]
    fn a_compiler_that_is_here_is_linked_and_none_fetched() {
        let candidates = vec![compiler("/nightly", 22), compiler("/usr", 22)];
        let machine = Machine { linked: None, candidates, ..ready() };
        assert_eq!(all(&machine, Purpose::Tests), [link("/nightly")]);
    }

    #[test]
    fn a_compiler_with_a_newer_llvm_than_the_linker_is_passed_over() {
        let candidates = vec![compiler("/nightly", 23), compiler("/usr", 22)];
        let machine = Machine { linked: Some(compiler("/nightly", 23)), candidates, ..ready() };
        assert_eq!(all(&machine, Purpose::Tests), [link("/usr")]);
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
        let machine = Machine { linker: Some("0.9.13".into()), ..ready() };
        assert_eq!(all(&machine, Purpose::Build), [Step::BuildLinker]);
    }

    #[test]
    fn a_system_without_apt_is_told_what_to_install() {
        let bare = Machine { apt: false, ..fresh() };
        let stopped_by = |machine: Machine| {
            next(&machine, Purpose::Guests).expect_err("nothing to get it with").0
        };
        let no_llvm = Machine { llvm: false, linker: None, apt: false, ..ready() };
        assert!(stopped_by(no_llvm).contains("cargo install bpf-linker@0.13.0"));
        let no_tools = Machine { missing_tools: missing("nft"), apt: false, ..ready() };
        assert!(stopped_by(no_tools).contains("install what Debian calls nftables"));
        let no_kernels = Machine { kernels: false, apt: false, ..ready() };
        assert!(stopped_by(no_kernels).contains("needs a Debian"));
        let no_compiler = Machine { rustup_asked: true, ..bare.clone() };
        assert!(stopped_by(no_compiler).contains("rustup toolchain install"));
        let no_rustup = Machine { rustup: false, ..bare };
        assert!(stopped_by(no_rustup).contains("install rustup"));
    }
}
