//! Which modules and crates a source file names: read as the compiler reads it, not as text.

use proc_macro2::{Delimiter, Ident, Spacing, TokenStream, TokenTree};
use std::{collections::HashMap, path::Path};

/// A path that a file names, from `crate` or from another crate on: `crate::kernel::clock`, `std::fs::read`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) line: usize,
    pub(super) path: Vec<String>,
}

/// All that the file names, in its order. `module` is where it stands in its crate. None if it is not Rust.
pub(super) fn of_text(text: &str, module: &[String]) -> Option<Vec<Import>> {
    let tokens: Vec<TokenTree> = text.parse::<TokenStream>().ok()?.into_iter().collect();
    let mut found = Found::default();
    found.read(&tokens, module);
    Some(found.resolved())
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
struct Written {
    line: usize,
    module: Vec<String>,
    path: Vec<String>,
}

#[derive(Default)]
struct Found {
    written: Vec<Written>,
    /// What `use` gives a name: the name, and what it stands for.
    names: Vec<(String, Written)>,
}

impl Found {
    fn read(&mut self, tokens: &[TokenTree], module: &[String]) {
        let mut rest = tokens;
        let mut after_path = false;
        while let Some((token, tail)) = rest.split_first() {
            rest = tail;
            match token {
                TokenTree::Ident(word) if word == "mod" => {
                    if let [TokenTree::Ident(name), TokenTree::Group(group), tail @ ..] = rest {
                        let inside = [module, &[name.to_string()]].concat();
                        self.read(&tokens_of(group), &inside);
                        rest = tail;
                    }
                }
                TokenTree::Ident(word) if word == "use" => {
                    rest = self.used(rest, Vec::new(), module);
                }
                TokenTree::Ident(word) if !after_path => {
                    let (path, tail) = path(word, rest);
                    // A word alone is mostly a local name; if it was imported, that was seen.
                    if path.len() > 1 {
                        self.write(line(word), module, path);
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
            self.names
                .push((name, Written { line: at, module: module.into(), path: path.clone() }));
            self.write(at, module, path);
        }
        rest
    }

    fn write(&mut self, line: usize, module: &[String], path: Vec<String>) {
        self.written.push(Written { line, module: module.into(), path });
    }

    fn resolved(self) -> Vec<Import> {
        let names: HashMap<&str, Vec<String>> =
            self.names.iter().map(|(name, written)| (name.as_str(), written.rooted())).collect();
        let resolve = |written: &Written| {
            let mut path = written.rooted();
            let first = path.first().map_or("", String::as_str);
            if let Some(meant) = names.get(first).filter(|meant| meant.len() > 1) {
                path.splice(..1, meant.iter().cloned());
            }
            Import { line: written.line, path }
        };
        self.written.iter().map(resolve).collect()
    }
}

impl Written {
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

fn tokens_of(group: &proc_macro2::Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

fn line(word: &Ident) -> usize {
    word.span().start().line
}

#[cfg(test)]
mod tests {
    use super::{module_of, of_text};
    use std::path::Path;

    /// The paths that a file of `model::table` names.
    fn paths(text: &str) -> Vec<String> {
        let module = ["model".to_owned(), "table".to_owned()];
        let imports = of_text(text, &module).expect("Rust");
        imports.into_iter().map(|import| import.path.join("::")).collect()
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
        let imports = of_text("\n\nuse std::{\n    fs,\n    env,\n};", &[]).expect("Rust");
        assert_eq!(imports.iter().map(|import| import.line).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(of_text("fn f( {", &[]), None);
    }

    #[test]
    fn a_file_is_a_module() {
        let module = |path: &str| module_of(Path::new(path)).join("::");
        assert_eq!(module("model/table/mod.rs"), "model::table");
        assert_eq!(module("model/row.rs"), "model::row");
        assert_eq!((module("lib.rs"), module("talk.rs")), (String::new(), "talk".into()));
    }
}
