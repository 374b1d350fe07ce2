//! Circles: files of one crate that import each other, directly or by way of others.
//!
//! A folder is one thing: its `mod.rs` may use what is in it and be used by that. Circles among the files of a
//! folder without its `mod.rs`, and circles that leave a folder, are findings. Tests do not count.

use super::{
    WorkspaceFile,
    import::{self, Import, Imports},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::Path,
};

/// A name that is imported through more files than this is not followed.
const MOST_STEPS: usize = 8;

/// The circles of all crates.
pub(super) fn of_files(files: &[WorkspaceFile]) -> Vec<String> {
    crates(files).iter().flat_map(Crate::circles).collect()
}

/// The modules of one crate that have files of their own.
struct Crate<'f> {
    modules: BTreeMap<Vec<String>, Module<'f>>,
}

struct Module<'f> {
    path: &'f Path,
    imports: Imports,
}

/// A program and a library beside each other have their modules in one folder: they count as one crate. What
/// stands for itself, like `build.rs`, imports no other file.
fn crates(files: &[WorkspaceFile]) -> Vec<Crate<'_>> {
    let mut crates: BTreeMap<&Path, Crate<'_>> = BTreeMap::new();
    let sources =
        files.iter().filter(|file| file.path.extension().is_some_and(|kind| kind == "rs"));
    for file in sources {
        let Some(root) = root_of(&file.path, files) else {
            continue;
        };
        let inside = file.path.strip_prefix(root).unwrap_or(&file.path);
        let name = import::module_of(inside);
        // What is no Rust is a finding of the rooms and of the compiler.
        let imports = Imports::of_text(file.text.as_deref().unwrap_or(""), &name);
        let module = Module { path: &file.path, imports: imports.unwrap_or_default() };
        let of_crate = crates.entry(root).or_insert_with(|| Crate { modules: BTreeMap::new() });
        // `lib.rs` comes before `main.rs`, and nobody imports that.
        of_crate.modules.entry(name).or_insert(module);
    }
    let mut crates: Vec<_> = crates.into_values().collect();
    crates.iter_mut().for_each(Crate::without_tests);
    crates
}

/// The nearest folder above a file that holds the root of a crate.
fn root_of<'f>(path: &'f Path, files: &[WorkspaceFile]) -> Option<&'f Path> {
    path.ancestors().skip(1).find(|folder| {
        ["lib.rs", "main.rs"].iter().any(|root| {
            let root = folder.join(root);
            files.binary_search_by(|file| file.path.cmp(&root)).is_ok()
        })
    })
}

impl Crate<'_> {
    fn without_tests(&mut self) {
        let tests = self.modules.values().flat_map(|module| module.imports.test_modules.clone());
        let tests: Vec<Vec<String>> = tests.collect();
        self.modules.retain(|name, _| !tests.iter().any(|test| name.starts_with(test)));
    }

    /// For each folder the circles among its files, those of folders below it too, without its `mod.rs`.
    fn circles(&self) -> Vec<String> {
        let arrows = self.arrows();
        let mut circles = Vec::new();
        for folder in self.modules.keys() {
            let inside = self.modules.keys().filter(|name| name.starts_with(folder));
            let inside: BTreeSet<&[String]> =
                inside.filter(|name| *name != folder).map(Vec::as_slice).collect();
            // Others are within one of the folders below, which judges them.
            let here = rings(&inside, &arrows).into_iter().filter(|ring| common(ring) == folder);
            circles.extend(here.map(|ring| self.circle(folder, &ring, &arrows)));
        }
        circles
    }

    /// Which module's file imports which, and in which line first.
    fn arrows(&self) -> Arrows<'_> {
        let mut arrows = Arrows::new();
        for (name, module) in &self.modules {
            let imports = module.imports.all.iter().filter(|import| !import.in_test);
            for Import { line, path, .. } in imports {
                let other = self.file_of(name, path, MOST_STEPS).filter(|other| other != name);
                if let Some(other) = other {
                    arrows.entry(name).or_default().entry(other).or_insert(*line);
                }
            }
        }
        arrows
    }

    /// The module in whose file a path ends that is written in `from`; none if it leads out of the crate.
    fn file_of(&self, from: &[String], path: &[String], n_steps: usize) -> Option<&[String]> {
        let path = match path.split_first()? {
            (first, rest) if first == "crate" => rest.to_vec(),
            // A module of this one is named without more.
            (first, _)
                if self.modules.contains_key(&[from, std::slice::from_ref(first)].concat()) =>
            {
                [from, path].concat()
            }
            _ => return None,
        };
        let mut ends = (0..=path.len()).rev().map(|end| path.split_at(end));
        let (name, module, rest) = ends.find_map(|(name, rest)| {
            let (name, module) = self.modules.get_key_value(name)?;
            Some((name, module, rest))
        })?;
        let Some((first, rest)) = rest.split_first().filter(|_| n_steps > 0) else {
            return Some(name);
        };
        match module.imports.given.get(first) {
            // It is only passed on here.
            Some(meant) => self.file_of(name, &[meant, rest].concat(), n_steps - 1),
            None => Some(name),
        }
    }

    fn circle(&self, folder: &[String], ring: &[&[String]], arrows: &Arrows<'_>) -> String {
        let path =
            |name: &[String]| self.modules.get(name).map_or(Path::new(""), |module| module.path);
        let way = shortest(folder, ring, arrows);
        let step = |(name, line): &Hop<'_>| format!("{}:{line} imports ", path(name).display());
        let steps: String = way.iter().map(step).collect();
        let start = way.first().map_or(Path::new(""), |(name, _)| path(name)).display();
        let others = ring.iter().filter(|name| !way.iter().any(|(step, _)| step == *name));
        let others: Vec<_> = others.map(|name| path(name).display().to_string()).collect();
        let met = if others.is_empty() {
            String::new()
        } else {
            format!(" (others meet it in {})", others.join(", "))
        };
        format!("{steps}{start}: a circle{met}: move what both ends need into a file below them")
    }
}

type Arrows<'c> = BTreeMap<&'c [String], BTreeMap<&'c [String], usize>>;

/// Groups of modules in which each reaches each other without leaving `inside`.
fn rings<'c>(inside: &BTreeSet<&'c [String]>, arrows: &Arrows<'c>) -> Vec<Vec<&'c [String]>> {
    let reached: BTreeMap<&[String], BTreeSet<&[String]>> =
        inside.iter().map(|name| (*name, reached(name, inside, arrows))).collect();
    let reaches = |one: &[String], other: &[String]| {
        reached.get(one).is_some_and(|reached| reached.contains(other))
    };
    let mut rings: Vec<Vec<&[String]>> = Vec::new();
    for name in inside.iter().filter(|name| reaches(name, name)) {
        let is_same = |ring: &&mut Vec<&[String]>| {
            ring.first().is_some_and(|first| reaches(first, name) && reaches(name, first))
        };
        match rings.iter_mut().find(is_same) {
            Some(ring) => ring.push(name),
            None => rings.push(vec![name]),
        }
    }
    rings
}

fn reached<'c>(
    start: &'c [String],
    inside: &BTreeSet<&'c [String]>,
    arrows: &Arrows<'c>,
) -> BTreeSet<&'c [String]> {
    let mut reached = BTreeSet::new();
    let mut waiting = vec![start];
    while let Some(name) = waiting.pop() {
        let next = arrows.get(name).into_iter().flat_map(BTreeMap::keys);
        waiting.extend(next.filter(|next| inside.contains(*next) && reached.insert(**next)));
    }
    reached
}

/// A step on the way round: a module, and the line in which it imports the next.
type Hop<'c> = (&'c [String], usize);

/// The shortest circle that is not within one of the folders below `folder`.
fn shortest<'c>(folder: &[String], ring: &[&'c [String]], arrows: &Arrows<'c>) -> Vec<Hop<'c>> {
    let circles = ring.iter().flat_map(|from| {
        let to = arrows.get(from).into_iter().flatten();
        let across = to.filter(|(to, _)| ring.contains(to) && common(&[*from, **to]) == folder);
        across.map(|(to, line)| [vec![(*from, *line)], way(to, from, ring, arrows)].concat())
    });
    circles.min_by_key(Vec::len).unwrap_or_default()
}

/// The shortest way from one module of a ring to another.
fn way<'c>(
    from: &'c [String],
    to: &[String],
    ring: &[&'c [String]],
    arrows: &Arrows<'c>,
) -> Vec<Hop<'c>> {
    let mut waiting = VecDeque::from([(from, Vec::new())]);
    let mut seen = BTreeSet::from([from]);
    while let Some((name, way)) = waiting.pop_front() {
        if name == to {
            return way;
        }
        for (next, line) in arrows.get(name).into_iter().flatten() {
            if ring.contains(next) && seen.insert(*next) {
                waiting.push_back((*next, [&way[..], &[(name, *line)]].concat()));
            }
        }
    }
    Vec::new()
}

/// The innermost module that all of these are, or are in.
fn common<'c>(names: &[&'c [String]]) -> &'c [String] {
    let Some((first, rest)) = names.split_first() else {
        return &[];
    };
    let n_common = |other: &&[String]| {
        first.iter().zip(other.iter()).take_while(|(one, other)| one == other).count()
    };
    let n = rest.iter().map(n_common).min().unwrap_or(first.len());
    first.get(..n).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{WorkspaceFile, of_files};

    /// What a crate with these modules is found to have: paths below `a/src`, and texts.
    fn found(modules: &[(&str, &str)]) -> Vec<String> {
        let file = |path: &str, text: &str| WorkspaceFile {
            path: format!("a/src/{path}").into(),
            text: Some(text.into()),
        };
        let mut files: Vec<WorkspaceFile> =
            modules.iter().map(|(path, text)| file(path, text)).collect();
        files.push(file("lib.rs", ""));
        files.sort_by(|one, other| one.path.cmp(&other.path));
        of_files(&files)
    }

    #[test]
    fn two_files_that_import_each_other_are_a_circle() {
        for (one, other) in [
            ("use crate::b::B;", "use crate::a::A;"),
            ("use crate::b::*;", "use crate::{d::D, a::{self, A}};"),
            ("fn f() -> crate::b::B {}", "use super::a;"),
            ("use crate::b; fn f() { b::g() }", "fn g(a: super::a::A) {}"),
        ] {
            let found = found(&[("a.rs", one), ("b.rs", other), ("c.rs", "use crate::b::B;")]);
            assert_eq!(found.len(), 1, "{one} {other}: {found:?}");
            let start = "a/src/a.rs:1 imports a/src/b.rs:1 imports a/src/a.rs: a circle: ";
            assert!(found[0].starts_with(start), "{found:?}");
        }
    }

    #[test]
    fn arrows_one_way_are_fine() {
        let modules = [
            ("a.rs", "use crate::{b, c};"),
            ("b.rs", "use crate::c::C;"),
            ("c.rs", "use std::a; use b::B; // crate::a\nconst A: &str = \"crate::a\";"),
        ];
        assert_eq!(found(&modules), [""; 0]);
        assert_eq!(found(&[("a.rs", "use crate::a::A; use self::A as B;")]), [""; 0]);
    }

    #[test]
    fn a_circle_may_be_long_and_cross_folders() {
        let modules = [
            ("a.rs", "use crate::room::b::B;"),
            ("room/mod.rs", "pub mod b;"),
            ("room/b.rs", "\nuse super::deep::C;"),
            ("room/deep/mod.rs", "use super::super::a;"),
        ];
        let found = found(&modules);
        assert_eq!(found.len(), 1, "{found:?}");
        let way = "a/src/a.rs:1 imports a/src/room/b.rs:2 imports a/src/room/deep/mod.rs:1 imports a/src/a.rs:";
        assert!(found[0].starts_with(way), "{found:?}");
    }

    #[test]
    fn a_folder_and_its_files_may_know_each_other() {
        let modules = [
            ("room/mod.rs", "mod a; mod b; use a::A; use self::b::B; pub struct Shared;"),
            ("room/a.rs", "use super::{Shared, b::B};"),
            ("room/b.rs", "use crate::room::Shared;"),
            ("lib_user.rs", "use crate::room;"),
        ];
        assert_eq!(found(&modules), [""; 0]);
    }

    #[test]
    fn two_files_of_a_folder_may_not() {
        let modules = [
            ("room/mod.rs", "mod a; mod b; use a::A; pub struct Shared;"),
            ("room/a.rs", "use super::{Shared, b::B};"),
            ("room/b.rs", "use super::a::A;"),
        ];
        let found = found(&modules);
        assert!(found.len() == 1 && found[0].contains("a circle: "), "{found:?}");
    }

    #[test]
    fn a_folder_and_a_file_beside_it_may_not() {
        let modules = [
            ("room/mod.rs", "mod a; use a::A; pub struct Shared;"),
            ("room/a.rs", "use super::Shared; use crate::other::Other;"),
            ("other.rs", "use crate::room::Shared;"),
        ];
        let found = found(&modules);
        let way = "a/src/other.rs:1 imports a/src/room/mod.rs:1 imports a/src/room/a.rs:1 imports";
        assert!(found.len() == 1 && found[0].starts_with(way), "{found:?}");
    }

    #[test]
    fn circles_that_meet_are_one_finding_with_all_files() {
        let modules = [
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use crate::{a::A, c::C};"),
            ("c.rs", "use crate::b::B;"),
        ];
        let found = found(&modules);
        assert!(
            found.len() == 1 && found[0].contains("(others meet it in a/src/c.rs)"),
            "{found:?}"
        );
    }

    #[test]
    fn a_name_that_is_passed_on_comes_from_where_it_is_defined() {
        let fine = [
            ("room/mod.rs", "mod a; mod b; pub use a::A; use b::B;"),
            ("room/a.rs", ""),
            ("room/b.rs", "use crate::other;"),
            ("other.rs", "use crate::room::A;"),
        ];
        assert_eq!(found(&fine), [""; 0]);
        let mut circle = fine;
        circle[1].1 = "use crate::other;";
        assert_eq!(found(&circle).len(), 1);
    }

    #[test]
    fn tests_do_not_count() {
        let test = "#[cfg(test)] mod tests { use crate::b::B; }";
        assert_eq!(found(&[("a.rs", test), ("b.rs", "use crate::a::A;")]), [""; 0]);
        let product = "mod tests { use crate::b::B; }";
        assert_eq!(found(&[("a.rs", product), ("b.rs", "use crate::a::A;")]).len(), 1);
        let modules = [
            ("a/mod.rs", "#[cfg(test)] mod tests;"),
            ("a/tests.rs", "use crate::b::B;"),
            ("b.rs", "use crate::a::tests::T;"),
        ];
        assert_eq!(found(&modules), [""; 0]);
        let mut product = modules;
        product[0].1 = "mod tests;";
        assert_eq!(found(&product).len(), 1);
    }

    #[test]
    fn crates_are_judged_by_themselves() {
        let modules = [
            ("bin/tool/main.rs", "mod a; mod b;"),
            ("bin/tool/a.rs", "use crate::b::B;"),
            ("bin/tool/b.rs", ""),
            ("a.rs", ""),
            ("b.rs", "use crate::a::A;"),
        ];
        assert_eq!(found(&modules), [""; 0]);
    }
}
