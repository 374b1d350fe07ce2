//! What our documents point to is there: files, headings in them, and modules of the agent.

use std::path::{Component, Path, PathBuf};

/// A path in a code span is checked if it begins in one of these folders and has one of these endings.
const FOLDERS: [&str; 7] =
    ["agent", "agent-ebpf", "dashboards", "deploy", "docs", "tests", "xtask"];
const ENDINGS: [&str; 6] = ["jsonnet", "libsonnet", "md", "rs", "service", "yml"];
/// The document whose code spans name modules of the agent: `model::table`.
const MODULES_IN: &str = "docs/ARCHITECTURE.md";
const AGENT: &str = "agent/src";

/// The findings in a Markdown file. `read` gives the text of a path from the root if it is there, the empty text for
/// a folder.
pub(super) fn of_text(
    path: &Path,
    text: &str,
    read: impl Fn(&Path) -> Option<String>,
) -> Vec<String> {
    let mut findings = Vec::new();
    let is_document = path.extension().is_some_and(|extension| extension == "md");
    let folder = path.parent().unwrap_or(Path::new(""));
    for (number, line) in text.lines().enumerate().filter(|_| is_document) {
        if is_in_code(text, number) {
            continue;
        }
        let links = links(line).filter_map(|link| broken(path, folder, link, &read));
        let spans = spans(line).flat_map(unfolded);
        let spans = spans.filter_map(|span| missing(path, &span, &read));
        findings.extend(links.chain(spans).map(|finding| format!(":{}: {finding}", number + 1)));
    }
    findings
}

fn is_in_code(text: &str, number: usize) -> bool {
    let fences = text.lines().take(number + 1).filter(|line| is_fence(line)).count();
    fences % 2 == 1
}

fn is_fence(line: &str) -> bool {
    line.trim_start().starts_with("```")
}

/// What stands in `](...)`, addresses aside.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let links = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    links.filter(|link| !link.is_empty() && !link.contains(':'))
}

/// What stands between backticks.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// `a/{b,c}.rs` as the two paths that it stands for.
fn unfolded(span: &str) -> Vec<String> {
    let folded = span.split_once('{').and_then(|(before, rest)| {
        let (names, after) = rest.split_once('}')?;
        Some(names.split(',').map(|name| format!("{before}{name}{after}")).collect())
    });
    folded.unwrap_or_else(|| vec![span.to_owned()])
}

fn broken(
    from: &Path,
    folder: &Path,
    link: &str,
    read: impl Fn(&Path) -> Option<String>,
) -> Option<String> {
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { Some(from.into()) } else { normal(&folder.join(file)) };
    let Some(text) = target.and_then(|target| read(&target)) else {
        return Some(format!("the link to `{link}` leads nowhere"));
    };
    let is_there = heading.is_empty() || headings(&text).any(|there| there == heading);
    (!is_there).then(|| format!("the link to `{link}` leads to no heading of that file"))
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

/// The anchors that GitHub gives to headings.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let titles = text
        .lines()
        .enumerate()
        .filter(|(number, line)| line.starts_with('#') && !is_in_code(text, *number));
    titles.map(|(_, title)| {
        let title = title.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// A file or a module that a code span names and that is not there.
fn missing(from: &Path, span: &str, read: impl Fn(&Path) -> Option<String>) -> Option<String> {
    if is_file(span) {
        let folder = from.parent().unwrap_or(Path::new(""));
        let is_there = read(Path::new(span)).or_else(|| read(&folder.join(span))).is_some();
        return (!is_there).then(|| format!("there is no file `{span}`"));
    }
    let names: Vec<&str> = span.split("::").collect();
    let is_name =
        |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let is_path = names.len() > 1 && names.iter().all(is_name);
    // Targets of the log look like modules.
    if from != Path::new(MODULES_IN) || !is_path || names.first() == Some(&"keepwatch") {
        return None;
    }
    (!is_in_agent(&names, read)).then(|| format!("there is no `{span}` in {AGENT}"))
}

fn is_file(span: &str) -> bool {
    let folder = span.split('/').next().unwrap_or_default();
    let ending = span.rsplit('.').next().unwrap_or_default();
    let is_plain = span.chars().all(|c| c.is_alphanumeric() || "-_./".contains(c));
    is_plain && FOLDERS.contains(&folder) && ENDINGS.contains(&ending)
}

/// Whether these names are those of a module of the agent, or of a function in one.
fn is_in_agent(names: &[&str], read: impl Fn(&Path) -> Option<String>) -> bool {
    let text = |names: &[&str]| {
        let path = Path::new(AGENT).join(names.iter().collect::<PathBuf>());
        read(&path.with_extension("rs")).or_else(|| read(&path.join("mod.rs")))
    };
    let is_function = || {
        let (function, module) = names.split_last()?;
        text(module).map(|text| text.contains(&format!("fn {function}")))
    };
    text(names).is_some() || is_function() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::of_text;
    use std::path::Path;

    const TREE: [(&str, &str); 4] = [
        ("dashboards/tests/alerts.yml", ""),
        ("docs/A.md", "# A\n## What goes wrong: in a *hook*\n```\n# code\n```\n"),
        ("agent/src/model/table/mod.rs", "fn apply() {}"),
        ("tests/tests/life.rs", ""),
    ];

    fn broken(path: &str, text: &str) -> usize {
        let read = |wanted: &Path| {
            let file = TREE.iter().find(|(file, _)| wanted == Path::new(file));
            file.map(|(_, text)| (*text).to_owned())
        };
        of_text(Path::new(path), text, read).len()
    }

    #[test]
    fn a_link_leads_to_a_file() {
        assert_eq!(broken("README.md", "see [a](docs/A.md) and [b](docs/A.md#a)"), 0);
        assert_eq!(broken("README.md", "see [a](docs/B.md) and [b](docs/C.md \"C\")"), 2);
        assert_eq!(broken("docs/B.md", "see [a](A.md), [a](./A.md), [a](../docs/A.md)"), 0);
        assert_eq!(broken("docs/B.md", "see [out](../../A.md), [root](/docs/A.md)"), 2);
    }

    #[test]
    fn a_link_leads_to_a_heading() {
        assert_eq!(broken("README.md", "[a](docs/A.md#what-goes-wrong-in-a-hook)"), 0);
        assert_eq!(broken("README.md", "[a](docs/A.md#what-goes-wrong)"), 1);
        assert_eq!(broken("README.md", "[a](docs/A.md#code)"), 1);
    }

    #[test]
    fn a_code_span_names_a_file_that_is_there() {
        assert_eq!(broken("README.md", "`tests/tests/life.rs` holds it"), 0);
        assert_eq!(
            broken("README.md", "`tests/tests/death.rs` holds it, and `x/y.rs` is not ours"),
            1
        );
        assert_eq!(broken("dashboards/README.md", "`tests/alerts.yml`, `tests/rules.yml`"), 1);
        assert_eq!(broken("README.md", "`tests/tests/{life,death}.rs`"), 1);
        assert_eq!(broken("README.md", "`tests/tests/files/`, `target/tools/bin`"), 0);
    }

    #[test]
    fn in_the_architecture_a_code_span_names_a_module_that_is_there() {
        let architecture = "docs/ARCHITECTURE.md";
        assert_eq!(broken(architecture, "`model::table` and `model::table::apply`"), 0);
        assert_eq!(broken(architecture, "`model::slots`, `model::table::update`"), 2);
        assert_eq!(broken(architecture, "`Table::apply`, `keepwatch::hooks`, `key=value`"), 0);
        assert_eq!(broken("CONTRIBUTING.md", "`model::slots`"), 0);
    }

    #[test]
    fn addresses_and_code_are_not_judged() {
        assert_eq!(broken("README.md", "[a](https://example.org/x)"), 0);
        assert_eq!(broken("README.md", "```\nx[0](y)\n```\n"), 0);
        assert_eq!(broken("a.rs", "//! [a](docs/B.md)"), 0);
    }
}
