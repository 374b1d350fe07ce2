//! A case: some software, a path, what is to be concluded. And a trial of advice, which is a case too.

use crate::{report::CaseReport, server_trial::ServerTrial, stage::CaseStage, trial::AdviceTrial};
use keepwatch_tests::network::middlebox::MiddleboxAnswer;

/// Software on a path, with what is true of it.
#[derive(Debug)]
pub(crate) struct TriedCase {
    /// The software and what it does.
    pub(crate) name: &'static str,
    /// The verdict, condition or cause of docs/CONCLUSIONS.md that it is about.
    pub(crate) kind: &'static str,
    /// Public complaints of this kind: `owner/repo#N`.
    pub(crate) complaints: &'static [&'static str],
    pub(crate) needs: &'static [Needed],
    pub(crate) road: Road,
    pub(crate) play: Play,
}

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

/// What is between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Road {
    /// It forgets after [`LIMIT_SECONDS`], and the agent was told so.
    Forgets(MiddleboxAnswer),
    /// It keeps everything; the agent was told that it forgets after [`LIMIT_SECONDS`].
    SaidToForget,
    /// It keeps everything, and the agent takes the default limit.
    Keeps,
}

/// What the paths forget after.
pub(crate) const LIMIT_SECONDS: u32 = 8;

/// How a case is run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Play {
    /// Its own steps.
    Steps(fn(&CaseStage<'_>, &mut CaseReport)),
    /// It dies; then the line that `why` proposes is applied, and it must live.
    Advice(&'static AdviceTrial),
    /// The same with a line for the server.
    ServerAdvice(&'static ServerTrial),
}

impl Road {
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
