//! Each fault of docs/RELIABILITY.md names tests that exist.

use super::test_name;
use std::path::Path;

const PAGE: &str = "docs/RELIABILITY.md";
const HEAD: &str = "| fault |";

/// What is missing.
pub(super) fn of_tree(files: &[(&Path, &str)]) -> Vec<String> {
    let page = files.iter().find(|(path, _)| *path == Path::new(PAGE));
    let Some((_, page)) = page else {
        return vec![format!("{PAGE}: is missing")];
    };
    let known = test_name::all(files);
    let rows = page.lines().skip_while(|line| !line.starts_with(HEAD)).skip(2);
    let rows: Vec<&str> = rows.take_while(|line| line.starts_with('|')).collect();
    if rows.is_empty() {
        return vec![format!("{PAGE}: has no table of faults")];
    }
    let of_row = |row: &&str| {
        let cell = row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap_or_default();
        let named: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            return vec![format!("{PAGE}: a fault without a test: {row}")];
        }
        let missing = named.into_iter().filter(|name| !known.contains(name));
        missing.map(|name| format!("{PAGE}: there is no test `{name}`")).collect()
    };
    rows.iter().flat_map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_without_a_test_is_found() {
        let findings = |row: &str| {
            let page = format!("# x\n\n{HEAD} now | test |\n|---|---|---|\n{row}\n");
            of_tree(&[(Path::new(PAGE), &page), (Path::new("a.rs"), "    fn it_holds() {}\n")])
        };
        assert_eq!(findings("| a `b` | c | `it_holds` |"), Vec::<String>::new());
        assert_eq!(
            findings("| a | c | `it_holds`, `it_flies` |"),
            [format!("{PAGE}: there is no test `it_flies`")]
        );
        assert_eq!(findings("| a | `it_holds` | none |").len(), 1);
        assert_eq!(findings("").len(), 1);
    }
}
