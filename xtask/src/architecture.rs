//! The architectures of keepwatch's programs, and what each tool calls them.

use std::env::consts::ARCH;

/// An architecture that programs are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Architecture {
    #[value(name = "x86_64", alias = "amd64")]
    X86_64,
    #[value(name = "aarch64", alias = "arm64")]
    Aarch64,
}

impl Architecture {
    pub(crate) const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// That of this machine, if it is one of them.
    pub(crate) fn of_this_machine() -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == ARCH)
    }

    /// That of the guests which need nothing foreign.
    pub(crate) fn own() -> Self {
        Self::of_this_machine().unwrap_or(Self::X86_64)
    }

    /// As Rust, the kernel and rpm name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// As documents name it.
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::X86_64 => "x86-64",
            Self::Aarch64 => "arm64",
        }
    }

    /// As Debian names it.
    pub(crate) const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// Rust's target: the one whose standard library is to be had everywhere with a static C library.
    pub(crate) fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.name())
    }

    /// The C compiler of this name makes programs for it; on such a machine `cc` does, too.
    pub(crate) fn c_compiler(self) -> String {
        if self.is_foreign() { format!("{}-linux-gnu-gcc", self.name()) } else { "cc".into() }
    }

    /// This machine does not run its programs, and compiles them with another compiler than its own.
    pub(crate) fn is_foreign(self) -> bool {
        Self::of_this_machine() != Some(self)
    }
}
