//! A file of TOML and what is wrong in it: every error names the file and the line.

use super::error::Error;
use crate::model::text::sanitize::escaped;
use std::path::Path;
use toml_edit::{Document, Item, Table, Value};

/// Above this a key is taken for another one mistyped.
const ALIKE: f64 = 0.8;
/// Characters of a value that an error repeats.
const MAX_SHOWN: usize = 80;

/// The path of a file, for errors, and its text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TomlFile<'a> {
    /// Path as the user gave it.
    pub path: &'a Path,
    /// All of its text.
    pub text: &'a str,
}

impl TomlFile<'_> {
    /// Parses the text. Items know where they stand.
    pub(crate) fn document(&self) -> Result<Document<String>, Error> {
        self.text.parse().map_err(|error: toml_edit::TomlError| Error::Syntax {
            file: self.path.to_owned(),
            line: self.line(error.span().map_or(0, |span| span.start)),
            message: error.message().lines().collect::<Vec<_>>().join("; "),
        })
    }

    /// A value that its key does not take.
    pub(crate) fn wrong(&self, key: &str, item: &Item, expected: String) -> Error {
        match item.as_value() {
            Some(value) => self.wrong_value(key, value, expected),
            None => self.error(key, self.line_of(item), None, expected),
        }
    }

    /// A value that its key does not take, alone or in a list.
    pub(crate) fn wrong_value(&self, key: &str, value: &Value, expected: String) -> Error {
        let span = value.span().unwrap_or_default();
        let line = self.line(span.start);
        let is_one = !value.is_array() && !value.is_inline_table();
        let text = self.text.get(span).filter(|_| is_one);
        let word = text.map(|text| text.chars().take(MAX_SHOWN).collect());
        self.error(key, line, word, expected)
    }

    /// A table that lacks something, or is wrong as a whole.
    pub(crate) fn wrong_table(&self, key: &str, table: &Table, expected: String) -> Error {
        self.error(key, self.line_of_table(table), None, expected)
    }

    /// What is wrong in this line.
    pub(crate) fn wrong_at(&self, key: &str, line: usize, expected: String) -> Error {
        self.error(key, line, None, expected)
    }

    /// Where a table begins, from 1.
    pub(crate) fn line_of_table(&self, table: &Table) -> usize {
        self.line(table.span().map_or(0, |span| span.start))
    }

    /// A key that is not among those `known` there.
    pub(crate) fn unknown(&self, key: &str, item: &Item, known: &[impl AsRef<str>]) -> Error {
        let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
        let word = key.rsplit('.').next().unwrap_or(key);
        let likeness = known.iter().map(|one| (strsim::jaro_winkler(one, word), one));
        let nearest = likeness.filter(|&(likeness, _)| likeness > ALIKE);
        let nearest = nearest.max_by(|(a, _), (b, _)| a.total_cmp(b));
        Error::Key {
            file: self.path.to_owned(),
            line: self.line_of(item),
            key: escaped(key.as_bytes()),
            hint: nearest.map(|(_, one)| format!("did you mean `{one}`? ")).unwrap_or_default(),
            known: known.join(", "),
        }
    }

    fn error(&self, key: &str, line: usize, word: Option<String>, expected: String) -> Error {
        let value = word.map(|word| escaped(word.as_bytes()));
        let (file, key) = (self.path.to_owned(), escaped(key.as_bytes()));
        Error::Value { file, line, key, value, expected }
    }

    fn line_of(&self, item: &Item) -> usize {
        let span = match item {
            Item::ArrayOfTables(tables) => tables.iter().next().and_then(Table::span),
            _ => item.span(),
        };
        self.line(span.map_or(0, |span| span.start))
    }

    fn line(&self, begin: usize) -> usize {
        self.text.get(..begin).unwrap_or_default().matches('\n').count() + 1
    }
}
