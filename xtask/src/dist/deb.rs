//! The package for Debian and its relatives, by dpkg-deb.

use super::{
    contents::{self, FileLayout, Item},
    revision::Revision,
};
use crate::{
    architecture::Architecture,
    command::{announced, new, stdout},
    place,
};
use anyhow::{Context as _, Result};
use std::{fs, path::Path};

/// What dpkg runs; each is a file in deploy/packages.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
/// What an administrator changes and an upgrade leaves alone.
const CONFIG_FILES: &str = "/etc/keepwatch/config.toml\n";

/// Makes the package in a folder, and returns its name.
pub(super) fn make(
    dist: &Path,
    items: &[Item],
    architecture: Architecture,
    version: &str,
    revision: &Revision,
) -> Result<String> {
    let root = dist.join("work/debian");
    contents::lay_out(items, FileLayout::Debian, &root)?;
    let files = place::files_below(&root)?;
    let mut kibibytes = 0;
    for file in &files {
        let bytes =
            fs::metadata(file).with_context(|| format!("look at {}", file.display()))?.len();
        kibibytes += bytes.div_ceil(1024);
    }
    let control = root.join("DEBIAN");
    contents::make(&control)?;
    contents::set_mode(&control, 0o755)?;
    let write = |name: &str, text: &str, mode: u32| {
        let path = control.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        contents::set_mode(&path, mode)
    };
    let template = read("control")?;
    write("control", &filled(&template, version, architecture, kibibytes), 0o644)?;
    write("conffiles", CONFIG_FILES, 0o644)?;
    write("md5sums", &md5sums(&root, &files)?, 0o644)?;
    for script in SCRIPTS {
        write(script, &read(script)?, 0o755)?;
    }
    let name = format!("keepwatch_{version}_{}.deb", architecture.debian());
    let mut pack = new("dpkg-deb");
    pack.args(["--root-owner-group", "--threads-max=1", "-Zxz", "--build"]);
    pack.arg(&root).arg(dist.join(&name));
    announced(
        revision.dated(&mut pack),
        "packages for Debian are made on a Debian: it has dpkg-deb",
    )?;
    Ok(name)
}

fn read(name: &str) -> Result<String> {
    let path = place::root().join("deploy/packages").join(name);
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

fn filled(template: &str, version: &str, architecture: Architecture, kibibytes: u64) -> String {
    template
        .replace("@VERSION@", version)
        .replace("@ARCHITECTURE@", architecture.debian())
        .replace("@KIBIBYTES@", &kibibytes.to_string())
}

/// By which `dpkg --verify` finds files that were changed; the config file is not among them.
fn md5sums(root: &Path, files: &[std::path::PathBuf]) -> Result<String> {
    let within = files.iter().filter_map(|file| file.strip_prefix(root).ok());
    let mut within: Vec<_> = within.filter(|file| !file.starts_with("etc")).collect();
    within.sort_unstable();
    let mut sum = new("md5sum");
    stdout(sum.current_dir(root).args(within)).context("md5sum does not run")
}

#[cfg(test)]
mod tests {
    use super::{Architecture, CONFIG_FILES, SCRIPTS, filled, read};

    #[test]
    fn the_control_file_has_a_value_in_each_place() {
        let control = filled(&read("control").expect("it"), "1.2", Architecture::Aarch64, 12);
        for line in
            ["Package: keepwatch", "Version: 1.2", "Architecture: arm64", "Installed-Size: 12"]
        {
            assert!(control.lines().any(|one| one == line), "{line} in {control}");
        }
        // Of an address, but of no place to fill, the first letter is small.
        let unfilled = |rest: &str| rest.starts_with(|letter: char| letter.is_ascii_uppercase());
        assert!(!control.split('@').skip(1).any(unfilled), "{control}");
        assert!(control.ends_with('\n'));
    }

    #[test]
    fn scripts_ask_systemd_only_where_it_runs_and_purge_only_what_is_ours() {
        for script in SCRIPTS.map(|name| read(name).expect("it")) {
            assert!(script.starts_with("#!/bin/sh\nset -e\n"), "{script}");
            let runs = script.find("-d /run/systemd/system").expect("it looks");
            assert!(script.find("systemctl").is_some_and(|asks| asks > runs), "{script}");
        }
        let postrm = read("postrm").expect("it");
        let removed = postrm.lines().filter(|line| line.contains("rm -"));
        let ours = |path: &str| path.starts_with('/') && path.contains("/keepwatch");
        for line in removed {
            let paths = line.split_whitespace().filter(|word| word.starts_with('/'));
            assert!(paths.clone().count() > 0 && paths.clone().all(ours), "{line}");
        }
        assert!(CONFIG_FILES.ends_with('\n'));
    }
}
