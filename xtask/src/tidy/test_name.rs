//! Names of functions in the tree: what pages name as tests must be among them.

use std::{collections::BTreeSet, path::Path};

/// Those of all Rust files.
pub(super) fn all<'a>(files: &[(&Path, &'a str)]) -> BTreeSet<&'a str> {
    let rust = files.iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "rs"));
    rust.flat_map(|(_, text)| functions(text)).collect()
}

fn functions(source: &str) -> impl Iterator<Item = &str> {
    source.lines().filter_map(|line| {
        line.trim_start().strip_prefix("fn ")?.split_once('(').map(|(name, _)| name)
    })
}
