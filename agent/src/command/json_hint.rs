//! What to type instead where `--json` is given a file.

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use std::ffi::OsString;

/// The error, with what to type if it is about a word that stands behind `--json`.
pub(super) fn added(mut error: Error, words: &[OsString]) -> Error {
    if let Some(file) = file_for_json(&error, words) {
        let tip = format!("`--json` writes to stdout; end the command with: --json > {file}");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

fn file_for_json(error: &Error, words: &[OsString]) -> Option<String> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let word = context(ContextKind::InvalidArg)?;
            let is_file = !word.starts_with('-');
            let follows = |pair: &[OsString]| matches!(pair, [flag, file] if flag == "--json" && *file == *word);
            (is_file && words.windows(2).any(follows)).then_some(word)
        }
        // By `=`.
        ErrorKind::TooManyValues => {
            let flag = context(ContextKind::InvalidArg)?;
            flag.starts_with("--json").then(|| context(ContextKind::InvalidValue))?
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Cli, *};
    use clap::CommandFactory as _;

    fn said(line: &str) -> Option<String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let parsed = Cli::command().try_get_matches_from(&words);
        parsed.err().map(|error| added(error, &words).to_string())
    }

    #[test]
    fn a_file_behind_json_is_answered_with_what_to_type() {
        for line in [
            "keepwatch sockets --json out.json",
            "keepwatch sockets --json=out.json",
            "keepwatch trace --json out.json --process nginx",
            "keepwatch doctor --json out.json",
        ] {
            let said = said(line).expect(line);
            assert!(said.contains("end the command with: --json > out.json"), "{line}: {said}");
        }
    }

    #[test]
    fn another_word_that_is_not_expected_is_no_file_for_json() {
        for line in [
            "keepwatch sockets out.json",
            "keepwatch sockets --json --processs nginx",
            "keepwatch sockets out.json --json",
            "keepwatch sockets --watch=1s=2 --json",
        ] {
            let said = said(line).expect(line);
            assert!(!said.contains("end the command"), "{line}: {said}");
        }
        assert_eq!(said("keepwatch check --json out.json"), None);
        assert_eq!(said("keepwatch check --json=out.json"), None);
        assert_eq!(said("keepwatch why 10.0.0.9 --json"), None);
    }
}
