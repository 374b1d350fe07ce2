//! Law 8: every verdict, condition and cause has a row in docs/CONCLUSIONS.md, and each row names two tests that exist: one for the
//! case, one for what looks like it and is not.

use super::test_name;
use std::path::Path;

const PAGE: &str = "docs/CONCLUSIONS.md";
/// The files whose closed sets are conclusions, and the heading of the column that names them.
const SETS: [(&str, &str); 3] = [
    ("agent/src/model/judgement/verdict.rs", "verdict"),
    ("agent/src/model/judgement/condition.rs", "condition"),
    ("agent/src/model/judgement/death/mod.rs", "cause"),
];

/// What is missing.
pub(super) fn of_tree(files: &[(&Path, &str)]) -> Vec<String> {
    let text =
        |name: &str| files.iter().find(|(path, _)| *path == Path::new(name)).map(|(_, text)| *text);
    let Some(page) = text(PAGE) else {
        return vec![format!("{PAGE}: is missing")];
    };
    let tests = test_name::all(files);
    let mut findings = Vec::new();
    for (file, heading) in SETS {
        let Some(source) = text(file) else {
            findings.push(format!("{file}: is missing: {PAGE} shows its names"));
            continue;
        };
        let rows = rows(page, heading);
        for name in names(source) {
            if !rows.iter().any(|row| row.name == name) {
                findings.push(format!("{PAGE}: the {heading} `{name}` has no row"));
            }
        }
        for Conclusion { name, case, look_alike } in rows {
            for (what, test) in [("case", case), ("look-alike", look_alike)] {
                if !tests.contains(test) {
                    findings.push(format!(
                        "{PAGE}: the {what} of `{name}` names the test `{test}`, which does not exist"
                    ));
                }
            }
            if case == look_alike {
                findings.push(format!("{PAGE}: `{name}` has one test for both"));
            }
        }
    }
    findings
}

/// A row of the page.
struct Conclusion<'a> {
    name: &'a str,
    case: &'a str,
    look_alike: &'a str,
}

/// The rows of the table whose first heading is this.
fn rows<'a>(page: &'a str, heading: &str) -> Vec<Conclusion<'a>> {
    let begin = format!("| {heading} |");
    let of_table = page.lines().skip_while(|line| !line.starts_with(&begin)).skip(2);
    of_table.take_while(|line| line.starts_with('|')).filter_map(row).collect()
}

fn row(line: &str) -> Option<Conclusion<'_>> {
    let cells: Vec<&str> =
        line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect();
    let [name, _, case, look_alike] = cells.as_slice() else {
        return None;
    };
    Some(Conclusion { name, case, look_alike })
}

/// The names of the first closed set of a file.
fn names(source: &str) -> impl Iterator<Item = &str> {
    let set = source.lines().skip_while(|line| *line != "closed_set! {");
    set.take_while(|line| *line != "}").filter_map(|line| {
        let (_, name) = line.trim().strip_suffix("\",")?.split_once(" = \"")?;
        Some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERDICTS: &str = "closed_set! {\n    enum Verdict {\n        Off = \"off\",\n        Kept = \"kept\",\n    }\n}\n";
    const TESTS: &str = "#[test]\nfn it_is_off() {}\n#[test]\nfn it_only_looks_off() {}\n";

    fn findings(page: &str) -> Vec<String> {
        let sets =
            SETS.map(|(file, _)| (file, if file.ends_with("verdict.rs") { VERDICTS } else { "" }));
        let files = sets.into_iter().chain([(PAGE, page), ("tests/tests/x.rs", TESTS)]);
        let files: Vec<_> = files.map(|(path, text)| (Path::new(path), text)).collect();
        of_tree(&files)
    }

    #[test]
    fn a_rule_without_a_look_alike_is_found() {
        let head = "| verdict | said when | case | look-alike |\n|---|---|---|---|\n";
        let off = "| `off` | a or b | `it_is_off` | `it_only_looks_off` |\n";
        let kept = "| `kept` | c | `it_is_off` | `it_is_nowhere` |\n";
        assert_eq!(
            findings(&format!("{head}{off}")),
            [format!("{PAGE}: the verdict `kept` has no row")]
        );
        let found = findings(&format!("{head}{off}{kept}"));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("`it_is_nowhere`, which does not exist"), "{found:?}");
        let twice = "| `kept` | c | `it_is_off` | `it_is_off` |\n";
        assert!(findings(&format!("{head}{off}{twice}"))[0].contains("one test for both"));
    }
}
