//! Names of types: each stands for one thing in the workspace, so that a reader and a search find that one.
//!
//! Structs, enums, unions, traits and aliases count, private ones and those of tests too; associated types do
//! not, as a trait demands their names.

use super::WorkspaceFile;
use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};

/// The words before the name of a type.
const KEYWORDS: [&str; 5] = ["enum", "struct", "trait", "type", "union"];
/// Names that may be defined in several places, each with its reason.
const REPEATED: [(&str, &str); 1] =
    [("Error", "each room has its own, and is named with it: `files::Error`")];
/// A type, and where it is defined.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Definition {
    name: String,
    line: usize,
}

/// Names that are defined in several places.
pub(super) fn of_files(files: &[WorkspaceFile]) -> Vec<String> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        for Definition { name, line } in of_file(file) {
            places.entry(name).or_default().push(format!("{}:{line}", file.path.display()));
        }
    }
    let may_repeat = |name: &str| REPEATED.iter().any(|(repeated, _)| *repeated == name);
    let doubles = places.iter().filter(|(name, places)| places.len() > 1 && !may_repeat(name));
    doubles
        .filter_map(|(name, places)| {
            let (last, others) = places.split_last()?;
            Some(format!(
                "{last}: another type is named `{name}`, in {}: rename one",
                others.join(", ")
            ))
        })
        .collect()
}

fn of_file(file: &WorkspaceFile) -> BTreeSet<Definition> {
    let mut definitions = BTreeSet::new();
    let is_rust = file.path.extension().is_some_and(|kind| kind == "rs");
    let text = file.text.as_deref().filter(|_| is_rust).unwrap_or("");
    // What is no Rust is a finding of the compiler.
    read(&text.parse().unwrap_or_default(), false, &mut definitions);
    definitions
}

/// `in_trait`: directly in the braces of a trait or of an `impl`, where `type` is associated.
fn read(tokens: &TokenStream, in_trait: bool, definitions: &mut BTreeSet<Definition>) {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut begins_trait = false;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(word) => {
                begins_trait |= word == "impl" || word == "trait";
                let after = tokens.get(at + 1..).unwrap_or_default();
                let is_associated = in_trait && word == "type";
                if let Some(name) = defined(word, after).filter(|_| !is_associated) {
                    let line = name.span().start().line;
                    definitions.insert(Definition { name: name.to_string(), line });
                }
            }
            TokenTree::Group(group) => {
                let is_body = group.delimiter() == Delimiter::Brace;
                read(&group.stream(), begins_trait && is_body, definitions);
                begins_trait &= !is_body;
            }
            TokenTree::Punct(punct) => begins_trait &= punct.as_char() != ';',
            TokenTree::Literal(_) => {}
        }
    }
}

/// The name of the type that a keyword defines, if it does. `union` is a keyword only there.
fn defined<'t>(keyword: &Ident, after: &'t [TokenTree]) -> Option<&'t Ident> {
    let [TokenTree::Ident(name), next, ..] = after else {
        return None;
    };
    let begins = match next {
        TokenTree::Punct(punct) => ['<', '=', ':', ';'].contains(&punct.as_char()),
        TokenTree::Group(_) => true,
        TokenTree::Ident(word) => word == "where",
        TokenTree::Literal(_) => false,
    };
    (begins && KEYWORDS.iter().any(|word| keyword == word)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::{WorkspaceFile, of_files};

    fn found(texts: &[(&str, &str)]) -> Vec<String> {
        let file = |(path, text): &(&str, &str)| WorkspaceFile {
            path: path.into(),
            text: Some((*text).into()),
        };
        of_files(&texts.iter().map(file).collect::<Vec<_>>())
    }

    #[test]
    fn a_name_is_of_one_type() {
        for one in [
            "pub struct Row { a: u8 }",
            "struct Row;",
            "struct Row(u8);",
            "pub(crate) enum Row<'a> { A(&'a u8) }",
            "trait Row: Sized {}",
            "type Row = u8;",
            "union Row { a: u8 }",
            "struct Row<T> where T: Copy { a: T }",
            "fn f() -> impl Copy { struct Row; }",
            "impl A for B { fn f() { type Row = u8; } }",
            "mod tests { struct Row {} }",
            "made! { struct Row { a: u8 } }",
        ] {
            let found =
                found(&[("a/a.rs", one), ("b/b.rs", "\nenum Row {}"), ("c.rs", "enum C {}")]);
            let finding = "b/b.rs:2: another type is named `Row`, in a/a.rs:1: rename one";
            assert_eq!(found, [finding], "{one}");
        }
        assert_eq!(found(&[("a.rs", "struct A;\nmod b { struct A; }")]).len(), 1, "in one file");
    }

    #[test]
    fn other_mentions_of_a_name_are_fine() {
        for one in [
            "use b::Row; fn row(row: Row) -> Row { Row {} }",
            "impl Row {} impl A for Row { type Row = u8; }",
            "trait A { type Row; } impl<T> A for B<T> where T: Copy { type Row = T; }",
            "// struct Row;\nconst A: &str = \"struct Row;\";",
            "fn f(union: Row) {} enum A { Row }",
            "macro_rules! m { ($name:ident) => { struct $name; } }",
            "mod Row {}",
        ] {
            assert_eq!(found(&[("a.rs", one), ("b.rs", "pub struct Row {}")]), [""; 0], "{one}");
        }
        assert_eq!(found(&[("a.md", "struct Row;"), ("b.rs", "struct Row;")]), [""; 0]);
    }

    #[test]
    fn errors_are_named_with_their_room() {
        assert_eq!(found(&[("a.rs", "enum Error {}"), ("b.rs", "struct Error;")]), [""; 0]);
        assert_eq!(found(&[("a.rs", "enum Errors {}"), ("b.rs", "struct Errors;")]).len(), 1);
    }
}
