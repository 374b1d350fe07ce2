//! Getting the software: what this machine lacks of Debian's programs, a virtual environment, a folder of npm. All of it
//! goes below `target/tools`; nothing is installed.

use super::software::{CaseProgram, NODE, PROGRAMS, PYTHON};
use crate::{
    command::{self, announced},
    place, tool,
};
use anyhow::{Context as _, Error, Result};
use std::{collections::BTreeSet, fs, path::PathBuf};

/// Gets all that is not here yet. What could not be had is returned: its cases are then not tried, and say so.
pub(crate) fn all() -> Vec<Error> {
    let mut failures = debian();
    failures.extend(python().context("the packages of PyPI").err());
    failures.extend(node().context("the packages of npm").err());
    failures
}

fn debian() -> Vec<Error> {
    let missing: Vec<&CaseProgram> =
        PROGRAMS.iter().filter(|program| tool::find(program.name).is_none()).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let packages: BTreeSet<&str> = missing.iter().map(|program| program.package).collect();
    let mut failures = match tool::unpack_each(&packages) {
        Ok(failures) => failures,
        Err(error) => return vec![error],
    };
    let wrapped = missing.iter().map(|program| tool::wrap_at(program.name, program.place));
    failures.extend(wrapped.filter_map(Result::err));
    failures
}

fn folder() -> PathBuf {
    place::tools().join("cases")
}

/// Runs commands unless a file says that they gave just this.
fn once(name: &str, wanted: &[&str], get: impl FnOnce() -> Result<()>) -> Result<()> {
    let (mark, wanted) = (folder().join(name), wanted.join("\n"));
    if fs::read_to_string(&mark).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    fs::create_dir_all(folder()).with_context(|| format!("create {}", folder().display()))?;
    get()?;
    fs::write(&mark, wanted).with_context(|| format!("write {}", mark.display()))
}

fn python() -> Result<()> {
    once("python.txt", &PYTHON, || {
        let venv = folder().join("venv");
        let mut make = command::new("python3");
        announced(
            make.args(["-m", "venv", "--clear"]).arg(&venv),
            "Python with its module venv (Debian: python3-venv)",
        )?;
        let mut pip = command::new(venv.join("bin/python3"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PYTHON);
        announced(&mut pip, "pip must reach the index that this machine uses")
    })
}

fn node() -> Result<()> {
    once("node.txt", &NODE, || {
        let place = folder().join("npm");
        fs::create_dir_all(&place).with_context(|| format!("create {}", place.display()))?;
        let mut npm = command::new("npm");
        npm.args(["install", "--no-fund", "--no-audit", "--save-exact", "--prefix"]).arg(&place);
        announced(npm.args(NODE), "npm must be here, and reach the registry that this machine uses")
    })
}
