//! What was asked for.

use std::path::PathBuf;

/// The words of the command line.
#[derive(Debug)]
pub(crate) struct ChaosWords {
    /// Parts of names of trials; all if there are none.
    names: Vec<String>,
    /// Where the table is written.
    pub(crate) page: Option<PathBuf>,
    pub(crate) soak_minutes: u64,
    pub(crate) list: bool,
}

impl ChaosWords {
    pub(crate) fn from(mut words: impl Iterator<Item = String>) -> Self {
        let mut asked = Self { names: Vec::new(), page: None, soak_minutes: 10, list: false };
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "--list" => asked.list = true,
                "--document" => asked.page = Some(value().into()),
                "--soak" => asked.soak_minutes = value().parse().expect("minutes"),
                _ if word.starts_with('-') => panic!("no such option: {word}"),
                _ => asked.names.push(word),
            }
        }
        asked
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|part| name.contains(part.as_str()))
    }
}
