//! A case: some software, a path, what is to be concluded. And a trial of advice, which is a case too.

use crate::{
    needed::Needed, report::CaseReport, server_trial::ServerTrial, stage::CaseStage,
    trial::AdviceTrial, tried_path::TriedPath,
};

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
    pub(crate) path: TriedPath,
    pub(crate) play: Play,
}

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
