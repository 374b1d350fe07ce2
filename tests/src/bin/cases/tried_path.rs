//! What is between the hosts of a case.

use keepwatch_tests::network::middlebox::MiddleboxAnswer;

/// What is between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TriedPath {
    /// It forgets after [`LIMIT_SECONDS`], and the agent was told so.
    Forgets(MiddleboxAnswer),
    /// It keeps everything; the agent was told that it forgets after [`LIMIT_SECONDS`].
    SaidToForget,
    /// It keeps everything, and the agent takes the default limit.
    Keeps,
}

/// What the paths forget after.
pub(crate) const LIMIT_SECONDS: u32 = 8;

impl TriedPath {
    /// In words, for the table.
    pub(crate) fn in_words(self) -> String {
        match self {
            Self::Forgets(MiddleboxAnswer::Silence) => {
                format!("forgets after {LIMIT_SECONDS} s, silently")
            }
            Self::Forgets(MiddleboxAnswer::Reset) => {
                format!("forgets after {LIMIT_SECONDS} s, resets")
            }
            Self::SaidToForget => format!("keeps all, taken to forget after {LIMIT_SECONDS} s"),
            Self::Keeps => "keeps all".to_owned(),
        }
    }
}
