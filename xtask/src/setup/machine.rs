//! What a machine has of what we need: looked up here, reasoned about in `plan`.

use super::plan::{NIGHTLY, Step, TOOLCHAIN};
use crate::{
    command, place,
    vm::kernel::{KERNELS, Kernel},
};
use std::path::{Path, PathBuf};

/// Debian's packages keep their compiler here.
const DEBIAN_SYSROOT: &str = "/usr";

/// The facts that a plan is made from.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, no states")]
pub(crate) struct Machine {
    /// There is an apt-get.
    pub(crate) apt: bool,
    /// We are root, or can become it.
    pub(crate) root: bool,
    /// There is a rustup: only it can name a toolchain.
    pub(crate) rustup: bool,
    /// rustup was asked for a compiler in this run: it gave one or it did not, once is enough.
    pub(crate) rustup_asked: bool,
    /// The toolchain that the hooks are built with.
    pub(crate) linked: Option<Compiler>,
    /// Compilers that could be linked, best first.
    pub(crate) candidates: Vec<Compiler>,
    /// The version of bpf-linker.
    pub(crate) linker: Option<String>,
    /// Debian packages for building bpf-linker that are not installed.
    pub(crate) linker_packages: Vec<&'static str>,
    /// Debian packages with programs that are not here: a compiler for C, ss and ip, jsonnet, qemu.
    pub(crate) base_packages: Vec<&'static str>,
    /// Prometheus and promtool are unpacked for the tests.
    pub(crate) prometheus: bool,
    /// The kernels that guests boot are unpacked.
    pub(crate) kernels: bool,
}

/// A Rust compiler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compiler {
    pub(crate) sysroot: PathBuf,
    /// Of 1.96.0 the 1 and the 96.
    pub(crate) release: (u32, u32),
    pub(crate) llvm: u32,
    /// The sources of core are with it.
    pub(crate) has_core: bool,
}

impl Machine {
    /// Looks at this machine. Changes nothing.
    pub(crate) fn examine() -> Self {
        let dpkg_knows = place::has_program("dpkg-query");
        let missing = |packages: &[&'static str]| {
            let absent = packages.iter().filter(|package| dpkg_knows && !is_installed(package));
            absent.copied().collect()
        };
        Self {
            apt: place::has_program("apt-get"),
            root: place::can_be_root(),
            rustup: place::has_program("rustup"),
            rustup_asked: false,
            linked: of_rustup(TOOLCHAIN),
            candidates: [of_rustup(NIGHTLY), of_rustup("nightly"), of_debian()]
                .into_iter()
                .flatten()
                .collect(),
            linker: linker(),
            linker_packages: missing(&super::plan::LINKER_PACKAGES),
            base_packages: base_packages(),
            prometheus: ["prometheus", "promtool"]
                .iter()
                .all(|name| place::tools().join("prometheus/usr/bin").join(name).is_file()),
            kernels: KERNELS.iter().all(Kernel::is_here),
        }
    }

    /// The machine as it would be if the step worked: for rehearsals.
    pub(crate) fn after(mut self, step: &Step) -> Self {
        let suitable = |sysroot: &Path| Compiler {
            sysroot: sysroot.to_path_buf(),
            release: super::plan::OLDEST_RUST,
            llvm: super::plan::LLVM,
            has_core: true,
        };
        match step {
            Step::Install { packages, .. } => {
                let installed = |package: &&str| packages.contains(package);
                self.base_packages.retain(|package| !installed(package));
                self.linker_packages.retain(|package| !installed(package));
                if *packages == super::plan::COMPILER_PACKAGES {
                    self.candidates.push(suitable(Path::new(DEBIAN_SYSROOT)));
                }
            }
            Step::AskRustup => self.candidates.push(suitable(Path::new("SYSROOT-OF-NIGHTLY"))),
            Step::Link { sysroot } => self.linked = Some(suitable(sysroot)),
            Step::BuildLinker => self.linker = Some(super::plan::LINKER.into()),
            Step::UnpackPrometheus => self.prometheus = true,
            Step::FetchKernels => self.kernels = true,
        }
        self
    }
}

fn of_rustup(toolchain: &str) -> Option<Compiler> {
    let rustc = |argument: &[&str]| {
        let mut rustup = command::new("rustup");
        // Looking must not install.
        rustup.env("RUSTUP_AUTO_INSTALL", "0").args(["run", toolchain, "rustc"]).args(argument);
        command::stdout(&mut rustup)
    };
    let sysroot = rustc(&["--print", "sysroot"])?;
    Some(compiler(sysroot.trim().into(), &rustc(&["-vV"])?))
}

fn of_debian() -> Option<Compiler> {
    let rustc = |argument: &[&str]| command::stdout(command::new("/usr/bin/rustc").args(argument));
    let sysroot = rustc(&["--print", "sysroot"])?;
    // Debian's rustup has a /usr/bin/rustc too: not a compiler, but the way to one of rustup's.
    (sysroot.trim() == DEBIAN_SYSROOT).then_some(())?;
    Some(compiler(DEBIAN_SYSROOT.into(), &rustc(&["-vV"])?))
}

fn compiler(sysroot: PathBuf, version: &str) -> Compiler {
    let number_after = |key| {
        let value = version.lines().find_map(|line: &str| line.strip_prefix(key));
        let mut numbers =
            value.unwrap_or_default().split(['.', '-']).map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    };
    Compiler {
        has_core: sysroot.join("lib/rustlib/src/rust/library/core").is_dir(),
        release: number_after("release: "),
        llvm: number_after("LLVM version: ").0,
        sysroot,
    }
}

fn linker() -> Option<String> {
    let version = command::stdout(command::new("bpf-linker").arg("--version"))?;
    version.trim().strip_prefix("bpf-linker ").map(Into::into)
}

fn is_installed(package: &str) -> bool {
    let mut query = command::new("dpkg-query");
    command::stdout(query.args(["--show", "--showformat=${db:Status-Status}", package]))
        .is_some_and(|status| status == "installed")
}

/// By the programs and files, not by packages: other systems have them too.
fn base_packages() -> Vec<&'static str> {
    let headers = Path::new("/usr/include/stdio.h").exists();
    let here = [
        ("gcc", place::has_program("gcc") || place::has_program("cc")),
        ("libc6-dev", headers),
        ("iproute2", place::has_program("ss") && place::has_program("ip")),
        ("jsonnet", place::has_program("jsonnet")),
        ("nftables", place::has_program("nft")),
        ("qemu-system-x86", place::has_program("qemu-system-x86_64")),
        ("xz-utils", place::has_program("xz")),
    ];
    here.into_iter().filter(|(_, is_here)| !is_here).map(|(package, _)| package).collect()
}

#[cfg(test)]
mod tests {
    use super::compiler;

    #[test]
    fn a_compiler_is_read_from_what_it_says_of_itself() {
        let said = "rustc 1.97.0-nightly (abc 2026-05-19)\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        let nightly = compiler("/nowhere".into(), said);
        assert_eq!((nightly.release, nightly.llvm), ((1, 97), 22));
        assert!(!nightly.has_core);
        assert_eq!(compiler("/nowhere".into(), "what?").llvm, 0);
    }
}
