//! What the history on disk says, read as `keepwatch why` reads it.

use keepwatch::tested::{DeathRow, HistoryReader, Query};
use std::path::Path;

/// The deaths that a query finds, the latest first.
#[track_caller]
pub fn deaths(state: &Path, query: &Query) -> Vec<DeathRow> {
    let mut found = Vec::new();
    let read = HistoryReader::open(state).and_then(|reader| {
        reader.deaths(query, |death| {
            found.push(death);
            true
        })
    });
    assert_eq!(read.expect("the history"), 0, "all of them can be read");
    found
}
