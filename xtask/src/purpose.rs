//! What a machine is prepared for: a build needs less than its tests.

/// What the machine is prepared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// The hooks and the agent.
    Build,
    /// Also what the tests compare with.
    Tests,
    /// Also the guests that run them on other kernels.
    Guests,
    /// Also the roots in which set-up itself and packages are tried.
    Roots,
    /// The build, and what packs it; nothing of the tests.
    Packages,
    /// The same for another architecture.
    ForeignPackages,
    /// Guests of another architecture, and what builds their programs.
    ForeignGuests,
}

impl Purpose {
    /// Whether what another purpose needs is needed for this one too.
    pub(crate) fn includes(self, other: Self) -> bool {
        match self {
            Self::Packages | Self::ForeignPackages => {
                other == Self::Build || (Self::Packages <= other && other <= self)
            }
            Self::ForeignGuests => !matches!(other, Self::Roots | Self::Packages),
            _ => other <= self,
        }
    }
}
