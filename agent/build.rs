//! Builds the hooks with the BPF toolchain that `cargo xtask setup` made, into `OUT_DIR`.
//!
//! By cargo itself, not by aya-build: that passes all that the inner cargo says on as warnings.

use object::{
    build::elf::{Builder, Section, SectionData},
    elf::SHT_STRTAB,
};
use std::{
    env,
    error::Error,
    ffi::OsString,
    fs, iter,
    path::{Path, PathBuf},
    process::{Command, Output},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The name under which `cargo xtask setup` links the compiler for the hooks.
const TOOLCHAIN: &str = "keepwatch-bpf";
const PROGRAM: &str = "keepwatch-hooks";
/// The workspace's own profile for it.
const PROFILE: &str = "hooks";
const SKIP: &str = "AYA_BUILD_SKIP";
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed={SKIP}");
    println!("cargo:rerun-if-changed={WORKSPACE}/agent-ebpf");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    if env::var_os(SKIP).is_some_and(|skip| skip == "1" || skip == "true") {
        // Enough for clippy and for tests that need no kernel.
        println!("cargo:warning={SKIP} is set: this keepwatch has no hooks");
        fs::write(out.join(PROGRAM), [])?;
        return Ok(());
    }
    build(&out).map_err(|error| {
        format!("building the hooks: {error}\nhelp: `cargo xtask setup` gets what it needs").into()
    })
}

fn build(out: &Path) -> Result<()> {
    let endian = env::var("CARGO_CFG_TARGET_ENDIAN")?;
    let target = if endian == "big" { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };
    let target_dir = out.join("hooks");
    let mut command = Command::new("rustup");
    command
        .args(["run", TOOLCHAIN, "cargo", "build", "--quiet", "--package", "keepwatch-ebpf"])
        .args([
            "--bins",
            "--profile",
            PROFILE,
            "--target",
            target,
            "-Zbuild-std=core",
            "--target-dir",
        ])
        .arg(&target_dir)
        .current_dir(WORKSPACE)
        .env("PATH", search_path()?)
        // Cargo must offer `-Z build-std` on any channel.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&env::var("CARGO_CFG_TARGET_ARCH")?)?)
        // They are of the compiler that builds this, as clippy and rust-analyzer set them.
        .env_remove("RUSTC")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    let Output { status, stdout, stderr } =
        command.output().map_err(|error| format!("`rustup` does not start: {error}"))?;
    let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if !status.success() {
        return Err(format!("{command:?} ended with {status}:\n{said}").into());
    }
    // What cargo says in spite of `--quiet` is a warning; rustup says where it takes cargo from.
    for line in said.lines().filter(|line| !line.starts_with("info: ")) {
        println!("cargo:warning={line}");
    }
    let built = target_dir.join(target).join(PROFILE).join(PROGRAM);
    let whole = fs::read(&built).map_err(|error| format!("read {}: {error}", built.display()))?;
    let stripped = without_debug_info(&whole)
        .map_err(|error| format!("take the debug info out of {}: {error}", built.display()))?;
    fs::write(out.join(PROGRAM), stripped)?;
    Ok(())
}

/// The object without what only a debugger reads, nine tenths of it. Without debug info bpf-linker makes no
/// BTF, so it is built with both. What is in every agent's memory, and read whenever one starts, is this copy.
fn without_debug_info(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object)?;
    let debug: Vec<_> = builder
        .sections
        .iter()
        .filter(|section| section.name.starts_with(b".debug_"))
        .map(Section::id)
        .collect();
    for section in &mut builder.sections {
        // The BTF's own relocations are for a linker: aya reads the values in place.
        let is_of_btf = [&b".rel.BTF"[..], b".rel.BTF.ext"].contains(&section.name.as_slice());
        let is_of_debug = section.sh_info_section.is_some_and(|of| debug.contains(&of));
        section.delete = is_of_btf || is_of_debug || debug.contains(&section.id());
    }
    builder.delete_orphans();
    // LLVM keeps the names of sections among those of symbols, which `Builder` cannot write.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}

/// What aya-ebpf and the kernel ask for: the host's architecture by name, and BTF. BTF names source files: by names that
/// are the same in whichever folder it is built, so that the same sources make the same object.
fn flags(host: &str) -> Result<String> {
    let workspace = fs::canonicalize(WORKSPACE)?;
    let cargo_home = env::var("CARGO_HOME")
        .or_else(|_| Ok::<_, Box<dyn Error>>(format!("{}/.cargo", env::var("HOME")?)))?;
    let asked =
        Command::new("rustup").args(["run", TOOLCHAIN, "rustc", "--print", "sysroot"]).output()?;
    let sysroot = String::from_utf8(asked.stdout)?;
    let remap = |from: &str, to: &str| format!("--remap-path-prefix={from}={to}");
    Ok([
        &format!("--cfg=bpf_target_arch=\"{host}\""),
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        &remap(&cargo_home, "/cargo"),
        &remap(sysroot.trim(), "/rust"),
        // The last one that fits is taken.
        &remap(&workspace.display().to_string(), "/keepwatch"),
    ]
    .join("\x1f"))
}

/// The linker that `cargo xtask setup` built comes first.
fn search_path() -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let tools = Path::new(WORKSPACE).join("target/tools/bin");
    Ok(env::join_paths(iter::once(tools).chain(env::split_paths(&path)))?)
}
