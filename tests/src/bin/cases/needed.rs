//! Software that a case needs.

/// Software that must be here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needed {
    /// A program.
    Program(&'static str),
    /// A package of the virtual environment.
    Python(&'static str),
    /// A package of npm.
    Node(&'static str),
}

impl Needed {
    pub(crate) const fn name(self) -> &'static str {
        let (Self::Program(name) | Self::Python(name) | Self::Node(name)) = self;
        name
    }
}
