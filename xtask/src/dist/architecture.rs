//! The architectures that there are packages for, and what each tool calls them.

use std::env::consts::ARCH;

/// An architecture of the machines that the packages are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Architecture {
    #[value(name = "x86_64", alias = "amd64")]
    X86_64,
    #[value(name = "aarch64", alias = "arm64")]
    Aarch64,
}

impl Architecture {
    /// That of this machine, if it is one of them.
    pub(super) fn of_this_machine() -> Option<Self> {
        [Self::X86_64, Self::Aarch64].into_iter().find(|one| one.name() == ARCH)
    }

    /// As Rust, the kernel and rpm name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// As Debian names it.
    pub(super) const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// Rust's target: the one whose standard library is to be had everywhere with a static C library.
    pub(super) fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.name())
    }

    /// The C compiler of this name makes programs for it; on such a machine `cc` does, too.
    pub(super) fn c_compiler(self) -> String {
        if Self::of_this_machine() == Some(self) {
            return "cc".into();
        }
        format!("{}-linux-gnu-gcc", self.name())
    }
}
