//! Links between our documents: each leads to a file of the workspace.

use std::path::{Component, Path, PathBuf};

/// The links of a Markdown file that lead nowhere. `exists` answers for a path from the root.
pub(super) fn of_text(path: &Path, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    if path.extension().is_none_or(|extension| extension != "md") {
        return Vec::new();
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut findings = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        in_code ^= line.trim_start().starts_with("```");
        let targets = if in_code { Vec::new() } else { targets(line) };
        for target in targets {
            if !normal(&folder.join(target)).is_some_and(|inside| exists(&inside)) {
                findings.push(format!(":{}: the link to `{target}` leads nowhere", number + 1));
            }
        }
    }
    findings
}

/// What stands in `](...)` and names a file: no address, no place in the same document.
fn targets(line: &str) -> Vec<&str> {
    let links = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let files = links.filter_map(|link| link.split('#').next());
    files.filter(|file| !file.is_empty() && !file.contains(':')).collect()
}

/// Without `.` and `..`; none if it leaves the workspace.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => normal.pop().then_some(())?,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(normal)
}

#[cfg(test)]
mod tests {
    use super::of_text;
    use std::path::Path;

    fn broken(path: &str, text: &str) -> usize {
        of_text(Path::new(path), text, |target| target == Path::new("docs/A.md")).len()
    }

    #[test]
    fn a_link_leads_to_a_file() {
        assert_eq!(broken("README.md", "see [a](docs/A.md) and [b](docs/A.md#part)"), 0);
        assert_eq!(broken("README.md", "see [a](docs/B.md) and [b](docs/C.md \"C\")"), 2);
        assert_eq!(broken("docs/B.md", "see [a](A.md), [a](./A.md), [a](../docs/A.md)"), 0);
        assert_eq!(broken("docs/B.md", "see [out](../../A.md), [root](/docs/A.md)"), 2);
    }

    #[test]
    fn addresses_and_code_are_not_judged() {
        assert_eq!(broken("README.md", "[a](https://example.org/x) [b](#here)"), 0);
        assert_eq!(broken("README.md", "```\nx[0](y)\n```\n"), 0);
        assert_eq!(broken("a.rs", "//! [a](docs/B.md)"), 0);
    }
}
