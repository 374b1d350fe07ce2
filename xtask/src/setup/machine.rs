//! What a machine has of what we need: looked up here, reasoned about in `plan`.

use super::pinned::{LLVM, NIGHTLY, TOOLCHAIN};
use crate::{
    architecture::Architecture,
    command, place,
    tool::{self, TOOLS, Tool},
    vm::kernel::{GuestKernel, kernels},
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
    /// LLVM is here to link bpf-linker to.
    pub(crate) llvm: bool,
    /// Programs that tests and guests run, and that are neither installed nor unpacked.
    pub(crate) missing_tools: Vec<&'static Tool>,
    /// The kernels that guests boot are unpacked.
    pub(crate) kernels: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// The folder that rustup would link to.
    pub(crate) toolchain: PathBuf,
    /// Of 1.96.0 the 1 and the 96.
    pub(crate) release: (u32, u32),
    pub(crate) llvm: u32,
    /// The sources of core are with it.
    pub(crate) has_core: bool,
}

impl Machine {
    /// Looks at this machine. Changes nothing.
    pub(crate) fn examine() -> Self {
        Self {
            apt: place::has_program("apt-get"),
            rustup: place::has_program("rustup"),
            rustup_asked: false,
            linked: of_rustup(TOOLCHAIN),
            candidates: [of_rustup(NIGHTLY), of_rustup("nightly"), of_debian(), unpacked()]
                .into_iter()
                .flatten()
                .collect(),
            linker: linker(),
            llvm: tool::llvm(LLVM).is_some(),
            missing_tools: TOOLS.iter().filter(|tool| tool::find(tool.program).is_none()).collect(),
            kernels: kernels(Architecture::own()).iter().all(GuestKernel::is_here),
        }
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
    let sysroot = Path::new(sysroot.trim());
    Some(compiler(sysroot, sysroot, &rustc(&["-vV"])?))
}

/// What Debian's packages installed.
fn of_debian() -> Option<Compiler> {
    let folder = Path::new(DEBIAN_SYSROOT);
    let (sysroot, version) = of_program(&folder.join("bin/rustc"))?;
    // Debian's rustup has a /usr/bin/rustc too: not a compiler, but the way to one of rustup's.
    (sysroot == folder).then(|| compiler(folder, folder, &version))
}

/// Debian's compiler, unpacked into `target/tools`.
fn unpacked() -> Option<Compiler> {
    let (sysroot, version) = of_program(&tool::toolchain().join("bin/rustc"))?;
    Some(compiler(&tool::toolchain(), &sysroot, &version))
}

fn of_program(rustc: &Path) -> Option<(PathBuf, String)> {
    let ask = |arguments: &[&str]| command::stdout(command::new(rustc).args(arguments));
    let sysroot = ask(&["--print", "sysroot"])?;
    Some((sysroot.trim().into(), ask(&["-vV"])?))
}

fn compiler(toolchain: &Path, sysroot: &Path, version: &str) -> Compiler {
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
        toolchain: toolchain.into(),
    }
}

/// The version of the bpf-linker that the build takes: `agent/build.rs` looks in the same order.
fn linker() -> Option<String> {
    let path = tool::find("bpf-linker")?;
    let version = command::stdout(command::new(path).arg("--version"))?;
    version.trim().strip_prefix("bpf-linker ").map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::compiler;
    use std::path::Path;

    #[test]
    fn a_compiler_is_read_from_what_it_says_of_itself() {
        let said = "rustc 1.97.0-nightly (abc 2026-05-19)\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        let nowhere = Path::new("/nowhere");
        let nightly = compiler(nowhere, nowhere, said);
        assert_eq!((nightly.release, nightly.llvm), ((1, 97), 22));
        assert!(!nightly.has_core);
        assert_eq!(compiler(nowhere, nowhere, "what?").llvm, 0);
    }
}
