//! Which modules and crates a source file names: read as the compiler reads it, not as text.

use proc_macro2::{Delimiter, Group, Ident, Spacing, TokenStream, TokenTree};
use std::{collections::HashMap, mem, path::Path};

/// A path that a file names, from `crate` or from another crate on: `crate::kernel::clock`, `std::fs::read`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) line: usize,
    pub(super) path: Vec<String>,
    /// Only tests are compiled with it.
    pub(super) in_test: bool,
}

/// What a file says of modules and crates. `module` is where it stands in its crate.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Imports {
    /// All that it names, in its order.
    pub(super) all: Vec<Import>,
    /// What the names stand for that it imports at its top: others can reach that through this file.
    pub(super) given: HashMap<String, Vec<String>>,
    /// Modules with a file of their own that only tests are compiled with.
    pub(super) test_modules: Vec<Vec<String>>,
}

impl Imports {
    /// None if the text is not Rust.
    pub(super) fn of_text(text: &str, module: &[String]) -> Option<Self> {
        let tokens: Vec<TokenTree> = text.parse::<TokenStream>().ok()?.into_iter().collect();
        let mut reading = PathReader::default();
        reading.read(&tokens, module);
        Some(reading.resolved(module))
    }
}

/// `agent/src/model/table/mod.rs` below `agent/src` is `model::table`; `lib.rs` and `main.rs` are roots.
pub(super) fn module_of(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> = path.with_extension("").iter().map(text_of).collect();
    parts.pop_if(|last| ["mod", "lib", "main"].contains(&last.as_str()));
    parts
}

fn text_of(part: &std::ffi::OsStr) -> String {
    part.to_string_lossy().into_owned()
}

/// A path as it is written, and the module in which it is.
#[derive(Clone)]
struct WrittenPath {
    line: usize,
    module: Vec<String>,
    path: Vec<String>,
    in_test: bool,
}

#[derive(Default)]
struct PathReader {
    paths: Vec<WrittenPath>,
    /// What `use` gives a name: the name, and what it stands for.
    names: Vec<(String, WrittenPath)>,
    test_modules: Vec<Vec<String>>,
    in_test: bool,
}

impl PathReader {
    fn read(&mut self, tokens: &[TokenTree], module: &[String]) {
        let mut rest = tokens;
        let mut after_path = false;
        while let Some((token, tail)) = rest.split_first() {
            rest = tail;
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => rest = self.test(rest, module),
                TokenTree::Ident(word) if word == "mod" => rest = self.module(rest, module),
                TokenTree::Ident(word) if word == "use" => {
                    rest = self.used(rest, Vec::new(), module);
                }
                TokenTree::Ident(word) if !after_path => {
                    let (path, tail) = path(word, rest);
                    // A word alone is mostly a local name; if it was imported, that was seen.
                    if path.len() > 1 {
                        let written = self.written(line(word), module, path);
                        self.paths.push(written);
                    }
                    rest = tail;
                }
                TokenTree::Group(group) => self.read(&tokens_of(group), module),
                _ => {}
            }
            // What follows a dot or `>::` is a member of something whose type was named before.
            after_path = matches!(token, TokenTree::Punct(punct) if punct.as_char() == '.');
        }
    }

    /// After a `#`: an item that only tests are compiled with, if its attribute says so.
    fn test<'t>(&mut self, tokens: &'t [TokenTree], module: &[String]) -> &'t [TokenTree] {
        let [TokenTree::Group(attribute), rest @ ..] = tokens else {
            return tokens;
        };
        if !is_of_tests(&tokens_of(attribute)) {
            return tokens;
        }
        let (item, rest) = rest.split_at(end_of_item(rest));
        let outside = mem::replace(&mut self.in_test, true);
        self.read(item, module);
        self.in_test = outside;
        rest
    }

    /// After `mod`: what is in its braces.
    fn module<'t>(&mut self, tokens: &'t [TokenTree], module: &[String]) -> &'t [TokenTree] {
        let [TokenTree::Ident(name), next, rest @ ..] = tokens else {
            return tokens;
        };
        let inside = [module, &[name.to_string()]].concat();
        match next {
            TokenTree::Group(group) => self.read(&tokens_of(group), &inside),
            _ if self.in_test => self.test_modules.push(inside),
            _ => {}
        }
        rest
    }

    /// A tree of `use`, from after the word or an opening brace to the end of this branch.
    fn used<'t>(
        &mut self,
        mut rest: &'t [TokenTree],
        prefix: Vec<String>,
        module: &[String],
    ) -> &'t [TokenTree] {
        let mut path = prefix;
        let mut at = 0;
        let mut name = None;
        while let Some((token, tail)) = rest.split_first() {
            rest = tail;
            match token {
                TokenTree::Ident(word) if word == "as" => {
                    if let [TokenTree::Ident(alias), tail @ ..] = rest {
                        name = Some(alias.to_string());
                        rest = tail;
                    }
                }
                TokenTree::Ident(word) => {
                    at = line(word);
                    path.push(word.to_string());
                }
                TokenTree::Punct(punct) if punct.as_char() == '*' => {
                    at = punct.span().start().line;
                    path.push("*".into());
                }
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    let inside = tokens_of(group);
                    let mut branches = &inside[..];
                    while !branches.is_empty() {
                        branches = self.used(branches, path.clone(), module);
                    }
                    path.clear();
                }
                TokenTree::Punct(punct) if [',', ';'].contains(&punct.as_char()) => break,
                _ => {}
            }
        }
        // `use a::{self}` is `use a`.
        path.pop_if(|last| last == "self");
        if let Some(last) = path.last() {
            let name = name.unwrap_or_else(|| last.clone());
            let written = self.written(at, module, path);
            self.names.push((name, written.clone()));
            self.paths.push(written);
        }
        rest
    }

    fn written(&self, line: usize, module: &[String], path: Vec<String>) -> WrittenPath {
        WrittenPath { line, module: module.into(), path, in_test: self.in_test }
    }

    fn resolved(self, module: &[String]) -> Imports {
        let names: HashMap<&str, Vec<String>> =
            self.names.iter().map(|(name, written)| (name.as_str(), written.rooted())).collect();
        let resolve = |written: &WrittenPath| {
            let mut path = written.rooted();
            let first = path.first().map_or("", String::as_str);
            if let Some(meant) = names.get(first).filter(|meant| meant.len() > 1) {
                path.splice(..1, meant.iter().cloned());
            }
            Import { line: written.line, path, in_test: written.in_test }
        };
        let at_top = self.names.iter().filter(|(_, path)| path.module == module && !path.in_test);
        Imports {
            all: self.paths.iter().map(resolve).collect(),
            given: at_top.map(|(name, path)| (name.clone(), path.rooted())).collect(),
            test_modules: self.test_modules,
        }
    }
}

impl WrittenPath {
    /// Without `self` and `super`.
    fn rooted(&self) -> Vec<String> {
        let n_up = self.path.iter().take_while(|part| *part == "super").count();
        let rest = self.path.get(n_up..).unwrap_or_default();
        let below = match rest.split_first() {
            Some((first, tail)) if first == "self" => Some(tail),
            _ if n_up > 0 => Some(rest),
            _ => None,
        };
        let Some(below) = below else {
            return self.path.clone();
        };
        let depth = self.module.len().saturating_sub(n_up);
        let root = std::iter::once("crate".to_owned());
        root.chain(self.module.iter().take(depth).chain(below).cloned()).collect()
    }
}

/// `first :: second :: third`, as long as it goes on.
fn path<'t>(first: &Ident, mut rest: &'t [TokenTree]) -> (Vec<String>, &'t [TokenTree]) {
    let mut path = vec![first.to_string()];
    while let [TokenTree::Punct(one), TokenTree::Punct(two), TokenTree::Ident(word), tail @ ..] =
        rest
        && (one.as_char(), one.spacing(), two.as_char()) == (':', Spacing::Joint, ':')
    {
        path.push(word.to_string());
        rest = tail;
    }
    (path, rest)
}

/// Whether an attribute is `cfg(test)`, also as one of several conditions.
fn is_of_tests(attribute: &[TokenTree]) -> bool {
    let [TokenTree::Ident(word), TokenTree::Group(conditions)] = attribute else {
        return false;
    };
    let has = |wanted: &str| words_of(conditions).iter().any(|word| word == wanted);
    word == "cfg" && has("test") && !has("not")
}

/// All words in a group and in the groups in it.
fn words_of(group: &Group) -> Vec<String> {
    let words = group.stream().into_iter().flat_map(|token| match token {
        TokenTree::Ident(word) => vec![word.to_string()],
        TokenTree::Group(group) => words_of(&group),
        _ => Vec::new(),
    });
    words.collect()
}

/// Where the item ends that begins here: after its braces or its semicolon.
fn end_of_item(tokens: &[TokenTree]) -> usize {
    // The braces of `use` do not end it.
    let is_use = tokens.iter().take_while(|token| !is_end(token, false)).any(is_use);
    tokens.iter().position(|token| is_end(token, !is_use)).map_or(tokens.len(), |last| last + 1)
}

fn is_use(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Ident(word) if word == "use")
}

fn is_end(token: &TokenTree, by_brace: bool) -> bool {
    match token {
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Group(group) => by_brace && group.delimiter() == Delimiter::Brace,
        _ => false,
    }
}

fn tokens_of(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

fn line(word: &Ident) -> usize {
    word.span().start().line
}

#[cfg(test)]
mod tests {
    use super::{Imports, module_of};
    use std::path::Path;

    /// Read as a file of `model::table`.
    fn imports(text: &str) -> Imports {
        Imports::of_text(text, &["model".to_owned(), "table".to_owned()]).expect("Rust")
    }

    /// The paths that it names.
    fn paths(text: &str) -> Vec<String> {
        imports(text).all.into_iter().map(|import| import.path.join("::")).collect()
    }

    #[test]
    fn trees_of_use_are_unfolded() {
        let text = "use crate::{kernel::{self, clock as time}, model::*}; use std::fs;";
        let expected = ["crate::kernel", "crate::kernel::clock", "crate::model::*", "std::fs"];
        assert_eq!(paths(text), expected);
    }

    #[test]
    fn modules_above_are_found_from_where_the_line_stands() {
        assert_eq!(paths("use super::super::kernel::clock;"), ["crate::kernel::clock"]);
        assert_eq!(paths("use self::slots::Slots;"), ["crate::model::table::slots::Slots"]);
        let inside = "mod tests { mod more { use super::super::super::setting; } }";
        assert_eq!(paths(inside), ["crate::model::setting"]);
    }

    #[test]
    fn paths_in_code_and_in_macros_count_too() {
        let code = "fn f() -> crate::owner::Owner { println!(\"{}\", std::env::var(\"A\")) }";
        assert_eq!(paths(code), ["crate::owner::Owner", "std::env::var"]);
        assert_eq!(paths("#[derive(clap::Args)] struct A;"), ["clap::Args"]);
    }

    #[test]
    fn a_name_stands_for_what_was_imported_under_it() {
        let text = "use std::time as when; fn f() { when::Instant::now() }";
        assert_eq!(paths(text), ["std::time", "std::time::Instant::now"]);
    }

    #[test]
    fn comments_text_and_members_are_no_paths() {
        assert_eq!(
            paths("/// [`crate::kernel::clock`]\nfn f() { \"std::fs::read\" } // std::fs"),
            [""; 0]
        );
        assert_eq!(paths("fn f() { self.fs.crate_::<u8>() }"), [""; 0]);
    }

    #[test]
    fn lines_are_those_of_the_file() {
        let imports = imports("\n\nuse std::{\n    fs,\n    env,\n};");
        assert_eq!(imports.all.iter().map(|import| import.line).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(Imports::of_text("fn f( {", &[]), None);
    }

    /// The paths that only tests name, and the others.
    fn divided(text: &str) -> (Vec<String>, Vec<String>) {
        let (tests, others): (Vec<_>, Vec<_>) =
            imports(text).all.into_iter().partition(|import| import.in_test);
        let paths = |imports: Vec<super::Import>| {
            imports.into_iter().map(|import| import.path.join("::")).collect()
        };
        (paths(tests), paths(others))
    }

    #[test]
    fn what_only_tests_name_is_marked() {
        for item in [
            "mod tests { use a::b; }",
            "use a::b;",
            "pub(crate) use a::{b};",
            "#[expect(dead_code)] fn f() -> [u8; 3] { a::b() }",
            "const A: u8 = a::b;",
            "struct A(a::b);",
        ] {
            for condition in ["test", "all(test, unix)", "any(test, feature = \"x\")"] {
                let text = format!("#[cfg({condition})] {item} fn f() {{ c::d() }}");
                assert_eq!(divided(&text), (vec!["a::b".into()], vec!["c::d".into()]), "{text}");
            }
            for condition in ["cfg(not(test))", "cfg(unix)", "cfg(feature = \"test\")", "test"] {
                let text = format!("#[{condition}] {item}");
                assert_eq!(divided(&text), (vec![], vec!["a::b".into()]), "{text}");
            }
        }
    }

    #[test]
    fn files_of_tests_are_known_by_their_declaration() {
        let imports = imports("mod a; #[cfg(test)] mod b; mod c { #[cfg(test)] mod d; } mod e {}");
        let tests = imports.test_modules.iter().map(|module| module.join("::"));
        assert_eq!(tests.collect::<Vec<_>>(), ["model::table::b", "model::table::c::d"]);
    }

    #[test]
    fn a_name_can_be_reached_through_the_file_that_imports_it_at_its_top() {
        let text = "pub use self::slots::Slot as S; use super::row::{Row, self}; \
                    mod inside { use std::fs; } #[cfg(test)] use std::env;";
        let given = imports(text).given;
        let mut given: Vec<_> =
            given.into_iter().map(|(name, path)| format!("{name} = {}", path.join("::"))).collect();
        given.sort();
        let expected = [
            "Row = crate::model::row::Row",
            "S = crate::model::table::slots::Slot",
            "row = crate::model::row",
        ];
        assert_eq!(given, expected);
    }

    #[test]
    fn a_file_is_a_module() {
        let module = |path: &str| module_of(Path::new(path)).join("::");
        assert_eq!(module("model/table/mod.rs"), "model::table");
        assert_eq!(module("model/row.rs"), "model::row");
        assert_eq!((module("lib.rs"), module("talk.rs")), (String::new(), "talk".into()));
    }
}
