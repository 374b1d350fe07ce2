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
    /// Also the roots in which set-up itself is tried.
    Roots,
}
