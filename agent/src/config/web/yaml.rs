//! The YAML of a web config: mappings, lists and texts, each with its line. What such a file has no use for is refused:
//! aliases (a few of them make gigabytes), tags, a second document. No error repeats a value: it may be a secret.

use crate::model::text::sanitize::escaped;
use saphyr_parser::{Event, Parser, ScalarStyle};

/// Deeper than any web config goes.
const MAX_DEPTH: usize = 8;

/// Something that is wrong in the file, and where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {}{reason}", key.as_ref().map(|key| format!("`{key}`: ")).unwrap_or_default())]
pub(crate) struct Flaw {
    /// The line, from 1.
    pub(super) line: usize,
    /// The key, with those around it: `tls_server_config.cert_file`.
    pub(super) key: Option<String>,
    /// What was expected.
    pub(super) reason: String,
}

impl Flaw {
    pub(super) fn new(line: usize, reason: impl Into<String>) -> Self {
        Self { line, key: None, reason: reason.into() }
    }
}

/// A value and its line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) content: Content,
}

#[derive(PartialEq, Eq)]
pub(super) enum Content {
    /// `key:` with nothing behind it.
    Nothing,
    Text(String),
    List(Vec<Node>),
    Map(Vec<YamlEntry>),
}

/// Without texts, which may be secrets.
impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Text(_) => f.write_str("Text(..)"),
            Self::List(nodes) => f.debug_list().entries(nodes).finish(),
            Self::Map(entries) => f.debug_list().entries(entries).finish(),
        }
    }
}

/// A key of a mapping.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct YamlEntry {
    pub(super) key: String,
    /// Of the key.
    pub(super) line: usize,
    pub(super) value: Node,
}

/// A mapping or list that has not ended.
enum Open {
    List(usize, Vec<Node>),
    Map { line: usize, entries: Vec<YamlEntry>, key: Option<(String, usize)> },
}

/// Reads the one document of a file. An empty file is a document, too.
pub(super) fn read(text: &str) -> Result<Node, Flaw> {
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let info = escaped(error.info().as_bytes());
            Flaw::new(error.marker().line(), format!("not YAML: {info}"))
        })?;
        let line = span.start.line();
        let whole = match event {
            Event::Alias(_) => return Err(Flaw::new(line, "aliases are not taken: write it out")),
            Event::Scalar(.., Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return Err(Flaw::new(line, "tags are not taken: leave the ! away, or quote it"));
            }
            Event::DocumentStart(_) if root.is_some() => {
                return Err(Flaw::new(line, "a second document: there may be one"));
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(line, Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Map { line, entries: Vec::new(), key: None });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|ended| match ended {
                Open::List(line, nodes) => Node { line, content: Content::List(nodes) },
                Open::Map { line, entries, .. } => Node { line, content: Content::Map(entries) },
            }),
            Event::Scalar(text, style, ..) => Some(Node { line, content: scalar(&text, style) }),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => None,
        };
        if open.len() > MAX_DEPTH {
            return Err(Flaw::new(line, "nested too deeply"));
        }
        if let Some(node) = whole {
            match open.last_mut() {
                Some(around) => put(around, node)?,
                None => root = Some(node),
            }
        }
    }
    Ok(root.unwrap_or(Node { line: 1, content: Content::Nothing }))
}

fn scalar(text: &str, style: ScalarStyle) -> Content {
    match (style, text) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Content::Nothing,
        _ => Content::Text(text.to_owned()),
    }
}

/// Puts a value where it belongs: a mapping has a key and a value in turn.
fn put(around: &mut Open, node: Node) -> Result<(), Flaw> {
    match around {
        Open::List(_, nodes) => nodes.push(node),
        Open::Map { entries, key, .. } => {
            if let Some((key, line)) = key.take() {
                entries.push(YamlEntry { key, line, value: node });
                return Ok(());
            }
            let Content::Text(text) = node.content else {
                return Err(Flaw::new(node.line, "expected a key"));
            };
            if let Some(first) = entries.iter().find(|entry| entry.key == text) {
                let reason = format!("this key is in line {} already", first.line);
                return Err(Flaw { line: node.line, key: Some(shown(&text)), reason });
            }
            *key = Some((text, node.line));
        }
    }
    Ok(())
}

/// A key, as an error repeats it.
pub(super) fn shown(key: &str) -> String {
    const MAX_SHOWN: usize = 60;
    let short: String = key.chars().take(MAX_SHOWN).collect();
    escaped(short.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn values_know_their_lines() {
        let text = "# a comment\na:\n  b: c\n  d: [\"x\", y]\ne:\n";
        let Content::Map(entries) = read(text).unwrap().content else { panic!() };
        let [a, e] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!((a.key.as_str(), a.line, e.line), ("a", 2, 5));
        assert_eq!(e.value.content, Content::Nothing);
        let Content::Map(inner) = &a.value.content else { panic!() };
        assert_eq!((inner[0].line, &inner[0].value.content), (3, &Content::Text("c".into())));
        let Content::List(list) = &inner[1].value.content else { panic!() };
        assert_eq!(list[1], Node { line: 4, content: Content::Text("y".into()) });
        assert_eq!(read("").unwrap().content, Content::Nothing);
        assert_eq!(read("# nothing\n").unwrap().content, Content::Nothing);
    }

    #[test]
    fn a_quoted_nothing_is_a_text() {
        let Content::Map(entries) = read("a: \"\"\nb: '~'\nc: ~\n").unwrap().content else {
            panic!()
        };
        let contents: Vec<_> = entries.iter().map(|entry| &entry.value.content).collect();
        let text = |text: &str| Content::Text(text.to_owned());
        assert_eq!(contents, [&text(""), &text("~"), &Content::Nothing]);
    }

    #[test]
    fn what_a_web_config_has_no_use_for_is_refused_by_line() {
        assert!(error("a: &x b\nc: *x\n").starts_with("2: aliases"));
        assert!(error("a: !!binary b\n").starts_with("1: tags"));
        assert!(error("a: b\n---\nc: d\n").contains("second document"));
        assert!(error("a: b\na: c\n").starts_with("2: `a`: this key is in line 1 already"));
        assert!(error("x: y\na: b: c\n").starts_with("2: not YAML"));
        assert!(
            error(&format!("{}{}", "[".repeat(20), "]".repeat(20))).contains("nested too deeply")
        );
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(error(&format!("a: {}", "{b: ".repeat(20))).contains("nested too deeply"));
    }

    #[test]
    fn no_error_repeats_a_value() {
        for text in ["a: \"s3cret", "a: s3cret: b\n", "a: [s3cret\nb: c", "a: *s3cret\n"] {
            let said = error(text);
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}
