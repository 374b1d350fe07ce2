//! The bill of materials, as CycloneDX (cyclonedx.org): every library in the program and in the hooks, with its
//! version, licence and checksum.

use super::revision::Revision;
use crate::{
    architecture::Architecture,
    command::{self, cargo, stdout},
    place, tool,
};
use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};
use toml_edit::DocumentMut;

/// The hooks' target, under which Cargo knows what they depend on.
const HOOKS: &str = "bpfel-unknown-none";
/// A library that is no crate, compiled or linked in: its name and version.
type CLibrary = (&'static str, String);

/// The document for the program of an architecture.
pub(super) fn document(
    architecture: Architecture,
    version: &str,
    revision: &Revision,
) -> Result<String> {
    let target = architecture.target();
    let mut graph = Graph::default();
    for (platform, root) in [(target.as_str(), "keepwatch"), (HOOKS, "keepwatch-ebpf")] {
        let arguments =
            ["metadata", "--format-version=1", "--locked", "--filter-platform", platform];
        let told = stdout(&mut cargo(arguments)).context("`cargo metadata` fails")?;
        let told: Value = serde_json::from_str(&told).context("read `cargo metadata`")?;
        graph.add(&told, root).with_context(|| format!("`cargo metadata` of {root}"))?;
    }
    let lock = fs::read_to_string(place::root().join("Cargo.lock")).context("read Cargo.lock")?;
    let checksums = checksums(&lock.parse::<DocumentMut>().context("read Cargo.lock")?);
    let c_libraries = c_libraries(architecture, &graph)?;
    let mut date = command::new("date");
    let date =
        stdout(date.args(["-u", "-d", &format!("@{}", revision.epoch), "+%Y-%m-%dT%H:%M:%SZ"]));
    let date = date.context("`date` does not run")?;
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": date.trim(),
            "component": {
                "type": "application",
                "bom-ref": purl("keepwatch", version),
                "name": "keepwatch",
                "version": version,
                "purl": purl("keepwatch", version),
                "licenses": [{ "expression": env!("CARGO_PKG_LICENSE") }],
                "properties": [
                    { "name": "keepwatch:commit", "value": revision.commit },
                    { "name": "keepwatch:target", "value": target },
                ],
            },
        },
        "components": graph.components(&checksums, &c_libraries),
        "dependencies": graph.dependencies(&c_libraries),
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// Crates that are linked, by Cargo's ids of them.
#[derive(Default)]
struct Graph {
    packages: BTreeMap<String, Value>,
    needs: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Adds a package of the workspace and whatever is linked into it, from what `cargo metadata` says.
    fn add(&mut self, metadata: &Value, root: &str) -> Option<()> {
        let packages: BTreeMap<&str, &Value> = metadata["packages"]
            .as_array()?
            .iter()
            .filter_map(|package| Some((package["id"].as_str()?, package)))
            .collect();
        let nodes: BTreeMap<&str, &Value> = metadata
            .pointer("/resolve/nodes")?
            .as_array()?
            .iter()
            .filter_map(|node| Some((node["id"].as_str()?, node)))
            .collect();
        let root = packages.iter().find(|(_, package)| package["name"] == root)?.0;
        let (mut open, mut seen) = (vec![*root], BTreeSet::from([*root]));
        while let Some(id) = open.pop() {
            let links = nodes.get(id)?["deps"].as_array()?.iter().filter(|link| is_normal(link));
            let linked = links.filter_map(|link| link["pkg"].as_str());
            let linked: Vec<&str> =
                linked.filter(|id| packages.get(id).is_some_and(|one| !is_macro(one))).collect();
            self.packages.insert(id.into(), (*packages.get(id)?).clone());
            let needs = self.needs.entry(id.into()).or_default();
            needs.extend(linked.iter().map(|&id| id.to_owned()));
            open.extend(linked.into_iter().filter(|id| seen.insert(id)));
        }
        Some(())
    }

    fn package(&self, name: &str) -> Option<&Value> {
        self.packages.values().find(|package| package["name"] == name)
    }

    /// All but the program itself.
    fn components(&self, checksums: &BTreeMap<String, String>, c: &[CLibrary]) -> Vec<Value> {
        let crates = self.packages.values().filter(|package| package["name"] != "keepwatch");
        let crates = crates.map(|package| component(package, checksums));
        let c = c.iter().map(|(name, version)| {
            let purl = format!("pkg:generic/{name}@{version}");
            json!({ "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl })
        });
        crates.chain(c).collect()
    }

    fn dependencies(&self, c: &[CLibrary]) -> Vec<Value> {
        let reference = |id: &String| self.packages.get(id).map(purl_of);
        let of = |(id, needs): (&String, &BTreeSet<String>)| {
            let mut on: Vec<String> = needs.iter().filter_map(reference).collect();
            let package = self.packages.get(id)?;
            if package["name"] == "keepwatch" {
                on.extend(c.iter().map(|(name, version)| format!("pkg:generic/{name}@{version}")));
            }
            Some(json!({ "ref": purl_of(package), "dependsOn": on }))
        };
        self.needs.iter().filter_map(of).collect()
    }
}

/// Neither for tests nor for building.
fn is_normal(link: &Value) -> bool {
    let kinds = link["dep_kinds"].as_array();
    kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
}

/// A macro runs in the compiler and is linked into nothing.
fn is_macro(package: &Value) -> bool {
    let targets = package["targets"].as_array();
    targets
        .is_some_and(|targets| targets.iter().any(|target| target["kind"] == json!(["proc-macro"])))
}

fn component(package: &Value, checksums: &BTreeMap<String, String>) -> Value {
    let purl = purl_of(package);
    let mut component = Map::new();
    component.insert("type".into(), "library".into());
    component.insert("bom-ref".into(), purl.clone().into());
    component.insert("name".into(), package["name"].clone());
    component.insert("version".into(), package["version"].clone());
    component.insert("purl".into(), purl.clone().into());
    if let Some(checksum) = checksums.get(&purl) {
        let hash = json!([{ "alg": "SHA-256", "content": checksum }]);
        component.insert("hashes".into(), hash);
    }
    if let Some(license) = package["license"].as_str() {
        // As it was written before SPDX had expressions.
        let expression = license.replace('/', " OR ");
        component.insert("licenses".into(), json!([{ "expression": expression }]));
    }
    component.into()
}

fn purl_of(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default();
    purl(text("name"), text("version"))
}

fn purl(name: &str, version: &str) -> String {
    // A plus is a blank where that is read (github.com/package-url).
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

/// Of each crate that was downloaded, by its purl.
fn checksums(lock: &DocumentMut) -> BTreeMap<String, String> {
    let packages = lock["package"].as_array_of_tables().into_iter().flatten();
    let text = |package: &toml_edit::Table, key: &str| Some(package.get(key)?.as_str()?.to_owned());
    packages
        .filter_map(|package| {
            let purl = purl(&text(package, "name")?, &text(package, "version")?);
            Some((purl, text(package, "checksum")?))
        })
        .collect()
}

/// What is linked in and is no crate: the C library, Rust's own, and SQLite.
fn c_libraries(architecture: Architecture, graph: &Graph) -> Result<Vec<CLibrary>> {
    let compiler = architecture.c_compiler();
    let compiler = tool::find(&compiler).unwrap_or_else(|| compiler.into());
    let libc = stdout(command::new(&compiler).arg("-print-file-name=libc.a"));
    let libc = libc.with_context(|| format!("{} names no libc.a", compiler.display()))?;
    let bytes = fs::read(libc.trim()).with_context(|| format!("read {}", libc.trim()))?;
    let glibc = between(&bytes, b"GNU C Library (", b") ").context("libc.a names no version")?;
    let rust = stdout(command::new("rustc").arg("--version")).context("rustc does not run")?;
    let rust = rust.split_whitespace().nth(1).context("rustc names no version")?;
    let sqlite =
        graph.package("libsqlite3-sys").and_then(|package| package["manifest_path"].as_str());
    let sqlite = Path::new(sqlite.context("no libsqlite3-sys is linked")?);
    let header = sqlite.with_file_name("sqlite3").join("sqlite3.h");
    let header = fs::read(&header).with_context(|| format!("read {}", header.display()))?;
    let sqlite = between(&header, b"#define SQLITE_VERSION", b"\"\n");
    let sqlite = sqlite.context("sqlite3.h names no version")?;
    Ok(vec![
        ("glibc", glibc.rsplit(' ').next().unwrap_or_default().to_owned()),
        ("rust-std", rust.to_owned()),
        ("sqlite", sqlite.trim().trim_start_matches('"').to_owned()),
    ])
}

/// The text between two others.
fn between(bytes: &[u8], before: &[u8], after: &[u8]) -> Option<String> {
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|here| here == what);
    let rest = bytes.get(find(bytes, before)? + before.len()..)?;
    let found = rest.get(..find(rest, after)?)?;
    (found.len() < 100).then(|| String::from_utf8_lossy(found).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{Graph, between, checksums, component, purl};
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    fn package(name: &str, kind: &str) -> Value {
        json!({ "id": name, "name": name, "version": "1.0.0+c1", "license": "MIT/Apache-2.0",
                "targets": [{ "kind": [kind] }] })
    }

    fn link(to: &str, kind: Option<&str>) -> Value {
        json!({ "pkg": to, "dep_kinds": [{ "kind": kind }] })
    }

    #[test]
    fn what_is_linked_is_listed_and_what_only_builds_or_tests_it_is_not() {
        let metadata = json!({
            "packages": [
                package("keepwatch", "lib"), package("linked", "lib"), package("below", "lib"),
                package("tests", "lib"), package("builds", "lib"), package("derives", "proc-macro"),
                package("stranger", "lib"),
            ],
            "resolve": { "nodes": [
                { "id": "keepwatch", "deps": [
                    link("linked", None), link("tests", Some("dev")), link("builds", Some("build")),
                    link("derives", None),
                ] },
                { "id": "linked", "deps": [link("below", None)] },
                { "id": "below", "deps": [] },
                { "id": "stranger", "deps": [] },
            ] },
        });
        let mut graph = Graph::default();
        graph.add(&metadata, "keepwatch").expect("a graph");
        let c = [("glibc", "2.36".to_owned())];
        let names: Vec<_> = graph
            .components(&BTreeMap::default(), &c)
            .iter()
            .map(|component| component["name"].clone())
            .collect();
        assert_eq!(names, ["below", "linked", "glibc"]);
        let dependencies = graph.dependencies(&c);
        let own = dependencies.iter().find(|one| one["ref"] == "pkg:cargo/keepwatch@1.0.0%2Bc1");
        let on = json!(["pkg:cargo/linked@1.0.0%2Bc1", "pkg:generic/glibc@2.36"]);
        assert_eq!(own.expect("its own")["dependsOn"], on);
    }

    #[test]
    fn a_component_has_the_checksum_of_the_lock_file_and_a_licence_as_spdx_writes_it() {
        let lock = "[[package]]\nname = \"itoa\"\nversion = \"1.0.0+c1\"\nchecksum = \"abc\"\n";
        let sums = checksums(&lock.parse().expect("a lock file"));
        let component = component(&package("itoa", "lib"), &sums);
        assert_eq!(component["hashes"][0]["content"], "abc");
        assert_eq!(component["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(purl("a", "1.2.3"), "pkg:cargo/a@1.2.3");
    }

    #[test]
    fn versions_are_found_in_what_a_library_says_of_itself() {
        let library = b"\x00GNU C Library (Debian GLIBC 2.36-9) stable\x00";
        assert_eq!(
            between(library, b"GNU C Library (", b") ").as_deref(),
            Some("Debian GLIBC 2.36-9")
        );
        assert_eq!(between(b"nothing", b"GNU", b")"), None);
    }
}
