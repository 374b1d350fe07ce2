//! The static binary: the same bytes in whichever folder it is built.

use super::{elf, revision::Revision};
use crate::{
    architecture::Architecture,
    command::{announced, cargo},
    place, tool,
};
use anyhow::{Context as _, Result, bail};
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Builds for an architecture. With a target named, what is built for this machine on the way is not static.
pub(super) fn build(
    architecture: Architecture,
    profile: &str,
    revision: &Revision,
) -> Result<PathBuf> {
    let target = architecture.target();
    let strip = format!("profile.{profile}.strip=\"debuginfo\"");
    let mut build = cargo(["build", "--locked", "--package", "keepwatch", "--profile", profile]);
    build.args(["--target", &target, "--config", &strip]);
    let (rust, c) = flags(&place::root(), &cargo_home()?);
    let name = target.replace('-', "_");
    build
        .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\x1f"))
        .env(format!("CFLAGS_{name}"), c.join(" "));
    tool::set_compilers(&mut build, architecture)?;
    // No time is set: C libraries would be compiled again for each commit, and none of them asks for it.
    build.env("KEEPWATCH_COMMIT", &revision.commit);
    announced(&mut build, "read what the compiler says above")?;
    let folder = if profile == "dev" { "debug" } else { profile };
    let binary = place::binary(&format!("{target}/{folder}"), "keepwatch");
    let bytes = fs::read(&binary).with_context(|| format!("read {}", binary.display()))?;
    if !elf::is_static(&bytes) {
        bail!("{} asks for an interpreter: it is not static", binary.display());
    }
    Ok(binary)
}

/// For rustc and for the C compiler: a static program, in which this machine's folders have other names.
fn flags(root: &Path, cargo_home: &Path) -> (Vec<String>, Vec<String>) {
    // The last one that fits is taken.
    let names = [(cargo_home, "/cargo"), (root, "/keepwatch")];
    let mut rust = vec!["-Ctarget-feature=+crt-static".to_owned()];
    rust.extend(names.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())));
    let c = names.map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()));
    (rust, c.into())
}

fn cargo_home() -> Result<PathBuf> {
    let set = env::var_os("CARGO_HOME").map(PathBuf::from);
    set.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}

#[cfg(test)]
mod tests {
    use super::flags;
    use std::path::Path;

    #[test]
    fn no_folder_of_this_machine_is_named_in_a_binary() {
        let (rust, c) = flags(Path::new("/home/me/src"), Path::new("/home/me/.cargo"));
        assert!(rust.contains(&"--remap-path-prefix=/home/me/src=/keepwatch".into()), "{rust:?}");
        assert!(rust.contains(&"--remap-path-prefix=/home/me/.cargo=/cargo".into()), "{rust:?}");
        assert_eq!(c.len(), 2);
        assert!(c.contains(&"-ffile-prefix-map=/home/me/.cargo=/cargo".into()), "{c:?}");
    }
}
