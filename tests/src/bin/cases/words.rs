//! What was asked for.

use std::path::PathBuf;

/// The words of the command line.
#[derive(Debug, Default)]
pub(crate) struct CaseWords {
    /// Parts of names of cases; all if there are none.
    pub(crate) names: Vec<String>,
    /// Software that may be missing.
    pub(crate) allowed: Vec<String>,
    /// Where the document is written.
    pub(crate) document: Option<PathBuf>,
    pub(crate) list: bool,
}

impl CaseWords {
    pub(crate) fn from(mut words: impl Iterator<Item = String>) -> Self {
        let mut asked = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "--list" => asked.list = true,
                "--document" => asked.document = Some(value().into()),
                "--allow-missing" => asked.allowed.push(value()),
                _ if word.starts_with('-') => panic!("no such option: {word}"),
                _ => asked.names.push(word),
            }
        }
        asked
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|part| name.contains(part.as_str()))
    }

    pub(crate) fn may_lack(&self, software: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed == software)
    }
}
