//! Programs of others that tests, guests and the build run: the machine's own, or Debian's, unpacked
//! into `target/tools` with their libraries.

use crate::{
    apt::{Apt, Suites},
    architecture::Architecture,
    command, place,
    purpose::Purpose,
};
use anyhow::{Context as _, Error, Result};
use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

/// A program, and the package of Debian's that has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
    /// The first purpose that needs it.
    pub(crate) purpose: Purpose,
}

const fn tool(program: &'static str, package: &'static str, purpose: Purpose) -> Tool {
    Tool { program, package, purpose }
}

/// Every tool that tests or checks start.
pub(crate) const TOOLS: [Tool; 16] = [
    tool("ip", "iproute2", Purpose::Tests),
    tool("ss", "iproute2", Purpose::Tests),
    tool("jsonnet", "jsonnet", Purpose::Tests),
    tool("nft", "nftables", Purpose::Tests),
    tool("prometheus", "prometheus", Purpose::Tests),
    tool("promtool", "prometheus", Purpose::Tests),
    tool("qemu-system-x86_64", "qemu-system-x86", Purpose::Guests),
    tool("xz", "xz-utils", Purpose::Guests),
    tool("zstd", "zstd", Purpose::Guests),
    tool("debootstrap", "debootstrap", Purpose::Roots),
    tool("wget", "wget", Purpose::Roots),
    tool("rpm", "rpm", Purpose::Packages),
    tool("rpmbuild", "rpm", Purpose::Packages),
    tool("aarch64-linux-gnu-ar", "binutils-aarch64-linux-gnu", Purpose::ForeignPackages),
    // With the C library to link, which the package of gcc only recommends.
    tool("aarch64-linux-gnu-gcc", "g++-aarch64-linux-gnu", Purpose::ForeignPackages),
    tool("qemu-system-aarch64", "qemu-system-arm", Purpose::ForeignGuests),
];

/// Where a program is: unpacked by us, or the machine's own.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let unpacked = bin().join(program);
    if unpacked.is_file() { Some(unpacked) } else { place::program(program) }
}

/// The same, or an error that says how to get it.
pub(crate) fn path(program: &str) -> Result<PathBuf> {
    find(program).with_context(|| format!("no program {program}; help: run `cargo xtask setup`"))
}

/// Scripts that start what is unpacked with its libraries.
pub(crate) fn bin() -> PathBuf {
    place::tools().join("bin")
}

/// What is unpacked, laid out as if it were installed.
pub(crate) fn tree() -> PathBuf {
    place::tools().join("debian")
}

/// Lets cargo compile C for an architecture, and link.
pub(crate) fn set_compilers(cargo: &mut Command, architecture: Architecture) -> Result<()> {
    if !architecture.is_foreign() {
        return Ok(());
    }
    let compiler = path(&architecture.c_compiler())?;
    let archiver = path(&format!("{}-linux-gnu-ar", architecture.name()))?;
    let name = architecture.target().replace('-', "_");
    cargo.env(format!("CARGO_TARGET_{}_LINKER", name.to_uppercase()), &compiler);
    cargo.env(format!("CC_{name}"), &compiler).env(format!("AR_{name}"), archiver);
    Ok(())
}

/// `PATH` with this folder first.
pub(crate) fn search_path(first: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(std::iter::once(first.into()).chain(env::split_paths(&path)))
        .context("the path of the workspace has a colon in it")
}

/// Unpacks packages with what they depend on; their programs can be found from then on.
pub(crate) fn unpack(packages: &[&str]) -> Result<()> {
    let apt = Apt::new(place::tools().join("apt"), Suites::own()?)?;
    apt.unpack_with_dependencies(packages, &tree())?;
    apt.remove()?;
    // The last thing: half an unpacked package is no tool.
    for Tool { program, .. } in TOOLS.iter().filter(|tool| packages.contains(&tool.package)) {
        wrap(program, &bin().join(program))?;
    }
    Ok(())
}

/// Unpacks each of these packages by itself; returns what could not be had.
pub(crate) fn unpack_each(packages: &BTreeSet<&str>) -> Result<Vec<Error>> {
    let apt = Apt::new(place::tools().join("apt"), Suites::own()?)?;
    let unpack = |package| apt.unpack_with_dependencies(&[package], &tree());
    let failures = packages.iter().filter_map(|package| unpack(package).err()).collect();
    apt.remove()?;
    Ok(failures)
}

/// Makes a program findable that was unpacked to a place outside of the usual folders. A `*` stands for what is not
/// known of a name.
pub(crate) fn wrap_at(program: &str, place: &str) -> Result<()> {
    let found = place.split('/').fold(vec![tree()], |folders, part| {
        folders.iter().flat_map(|folder| entries_like(folder, part)).collect()
    });
    let found = found.into_iter().find(|path| path.is_file());
    let found = found.with_context(|| format!("no {place} in {}", tree().display()))?;
    write_script(&bin().join(program), &found)
}

/// The entries of a folder whose names are this, with `*` for any letters.
fn entries_like(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let is_like = |name: &str| {
        let mut parts = pattern.split('*');
        let rest = parts.next().and_then(|first| name.strip_prefix(first));
        let last = parts.next_back();
        let rest = parts.fold(rest, |rest, part| Some(rest?.split_once(part)?.1));
        rest.is_some_and(|rest| last.map_or(rest.is_empty(), |last| rest.ends_with(last)))
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let like = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_like));
    like.map(|entry| entry.path()).collect()
}

/// Folders of a system with programs, and with libraries.
const PROGRAMS: [&str; 4] = ["usr/bin", "usr/sbin", "bin", "sbin"];

/// A script that starts an unpacked program.
fn wrap(program: &str, script: &Path) -> Result<()> {
    write_script(script, &unpacked_program(program)?)
}

fn unpacked_program(program: &str) -> Result<PathBuf> {
    let mut places = PROGRAMS.iter().map(|folder| tree().join(folder).join(program));
    places
        .find(|place| place.is_file())
        .with_context(|| format!("no program {program} in {}", tree().display()))
}

/// A script below `target/tools` that starts a program there with the unpacked libraries.
pub(crate) fn write_script(script: &Path, program: &Path) -> Result<()> {
    let folder = script.parent().context("a script is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    // A new file: the old one may be running.
    let new = script.with_extension("new");
    let text = script_text(&place::tools(), script, &libraries(), program)?;
    fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))
        .and_then(|()| fs::rename(&new, script))
        .with_context(|| format!("make {} a program", script.display()))
}

/// Names all by where the script itself is: a workspace may be moved.
fn script_text(
    tools: &Path,
    script: &Path,
    libraries: &[PathBuf],
    program: &Path,
) -> Result<String> {
    let within = |path: &Path| -> Result<String> {
        let path = path.strip_prefix(tools).context("a tool is outside of target/tools")?;
        Ok(format!("$tools/{}", path.display()))
    };
    let up = "/..".repeat(within(script)?.matches('/').count() - 1);
    let libraries: Vec<_> = libraries.iter().map(|path| within(path)).collect::<Result<_>>()?;
    Ok(format!(
        "#!/bin/sh\n# Written by `cargo xtask setup`.\n\
         tools=$(dirname \"$(readlink -f \"$0\")\"){up}\n\
         LD_LIBRARY_PATH=\"{}\" exec \"{}\" \"$@\"\n",
        libraries.join(":"),
        within(program)?
    ))
}

/// The folders of the unpacked libraries.
fn libraries() -> Vec<PathBuf> {
    let triple = format!("{}-linux-gnu", env::consts::ARCH);
    ["usr/lib", "lib"].map(|folder| tree().join(folder).join(&triple)).to_vec()
}

/// The same as `LD_LIBRARY_PATH` has it.
pub(crate) fn library_path() -> Result<OsString> {
    env::join_paths(libraries()).context("the path of the workspace has a colon in it")
}

/// A program and its shared libraries as files: where each is here, and where a system has it.
pub(crate) fn with_libraries(program: &str) -> Result<Vec<(PathBuf, String)>> {
    let tree = tree();
    let script = path(program)?;
    let mut ldd = command::new("ldd");
    let mut real = script.clone();
    if script.starts_with(bin()) {
        real = unpacked_program(program)?;
        ldd.env("LD_LIBRARY_PATH", library_path()?);
    }
    let listed = command::stdout(ldd.arg(&real)).unwrap_or_default();
    let installed = |path: &Path| {
        let within = path.strip_prefix(&tree).map(|path| Path::new("/").join(path));
        within.unwrap_or_else(|_| path.to_path_buf()).display().to_string()
    };
    let files = listed_libraries(&listed).into_iter().map(|path| {
        let path = PathBuf::from(path);
        let place = installed(&path);
        (path, place)
    });
    let mut files: Vec<_> = files.collect();
    files.push((real, format!("/usr/bin/{program}")));
    Ok(files)
}

/// The paths in what `ldd` prints.
fn listed_libraries(listed: &str) -> Vec<&str> {
    let lines = listed.lines().map(|line| line.split_once("=> ").map_or(line, |(_, path)| path));
    let paths = lines.filter_map(|line| line.split_whitespace().next());
    paths.filter(|path| path.starts_with('/')).collect()
}

/// The folder that bpf-linker's build takes for LLVM's, if LLVM of this version is installed or
/// unpacked. It asks for `lib/libLLVM.so` in it, and for nothing else.
pub(crate) fn llvm(version: u32) -> Option<PathBuf> {
    let folders = [format!("/usr/lib/llvm-{version}").into(), unpacked_llvm(version)];
    folders.into_iter().find(|folder| folder.join("lib/libLLVM.so").exists())
}

fn unpacked_llvm(version: u32) -> PathBuf {
    tree().join(format!("usr/lib/llvm-{version}"))
}

/// Unpacks LLVM's library. Its package for developers, which is twenty times as large, would give it
/// the name that a linker looks for.
pub(crate) fn unpack_llvm(version: u32) -> Result<()> {
    unpack(&[&llvm_package(version)])?;
    let file = format!("libLLVM.so.{version}.1");
    let library = libraries()
        .into_iter()
        .map(|folder| folder.join(&file))
        .find(|library| library.is_file())
        .with_context(|| format!("no {file} in what was unpacked"))?;
    let folder = unpacked_llvm(version).join("lib");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let name = folder.join("libLLVM.so");
    if name.is_symlink() {
        fs::remove_file(&name).with_context(|| format!("remove {}", name.display()))?;
    }
    symlink(&library, &name).with_context(|| format!("link {}", name.display()))
}

pub(crate) fn llvm_package(version: u32) -> String {
    format!("libllvm{version}")
}

/// Where a toolchain for rustup is that starts the unpacked compiler.
pub(crate) fn toolchain() -> PathBuf {
    place::tools().join("rust")
}

/// Unpacks Debian's Rust compiler and the sources of core.
pub(crate) fn unpack_rust(packages: &[&str]) -> Result<()> {
    unpack(packages)?;
    wrap("rustc", &toolchain().join("bin/rustc"))?;
    // rustup takes a folder for a toolchain only if it has both.
    let lib = toolchain().join("lib");
    fs::create_dir_all(&lib).with_context(|| format!("create {}", lib.display()))
}

#[cfg(test)]
mod tests {
    use super::{TOOLS, entries_like, listed_libraries, script_text};
    use std::{collections::BTreeSet, env, fs, path::Path};

    #[test]
    fn ldd_names_libraries_and_the_loader() {
        let listed = "\tlinux-vdso.so.1 (0x1)\n\tlibmnl.so.0 => /lib/x/libmnl.so.0 (0x2)\n\t/lib64/ld.so (0x3)\n";
        assert_eq!(listed_libraries(listed), ["/lib/x/libmnl.so.0", "/lib64/ld.so"]);
        assert!(listed_libraries("\tstatically linked\n").is_empty());
    }

    #[test]
    fn a_script_finds_its_program_and_libraries_from_where_it_is() {
        let tools = Path::new("/w/target/tools");
        let (script, program) = (tools.join("bin/nft"), tools.join("debian/usr/sbin/nft"));
        let text =
            script_text(tools, &script, &[tools.join("debian/lib")], &program).expect("text");
        let start = r#"LD_LIBRARY_PATH="$tools/debian/lib" exec "$tools/debian/usr/sbin/nft" "$@""#;
        assert!(text.lines().any(|line| line == start), "{text}");
        assert!(text.contains("\"$0\")\")/..\n"), "{text}");
        let deeper =
            script_text(tools, &tools.join("rust/bin/rustc"), &[], &program).expect("text");
        assert!(deeper.contains("\"$0\")\")/../..\n"), "{deeper}");
        assert!(script_text(tools, &script, &[], Path::new("/usr/sbin/nft")).is_err());
    }

    #[test]
    fn a_star_stands_for_the_part_of_a_name_that_differs_between_releases() {
        let folder = env::temp_dir().join(format!("xtask-tool-{}", std::process::id()));
        for name in ["go-1.19", "go", "php8.2", "php", "phpize"] {
            fs::create_dir_all(folder.join(name)).expect("a folder");
        }
        let like = |pattern| {
            let found = entries_like(&folder, pattern).into_iter();
            found.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
        };
        let found: [Vec<String>; 4] = ["go-*", "php*.*", "php", "perl*"].map(like);
        fs::remove_dir_all(&folder).expect("our folder");
        assert_eq!(found.map(|names| names.join(" ")), ["go-1.19", "php8.2", "php", ""]);
    }

    #[test]
    fn a_program_is_named_once() {
        let names: BTreeSet<_> = TOOLS.iter().map(|tool| tool.program).collect();
        assert_eq!(names.len(), TOOLS.len());
    }
}
