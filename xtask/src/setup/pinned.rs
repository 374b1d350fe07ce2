//! What the hooks are built with: names and versions that set-up looks for, and gets where they are missing.

/// The name under which `agent/build.rs` asks rustup for the hooks' compiler.
pub(crate) const TOOLCHAIN: &str = "keepwatch-bpf";
/// A nightly of the days of LLVM 22: later ones write bitcode that our linker may not read. Its date
/// also keeps us from updating a nightly that is somebody else's.
pub(crate) const NIGHTLY: &str = "nightly-2026-05-20";
/// The major version of LLVM in the linker.
pub(crate) const LLVM: u32 = 22;
/// The workspace's `rust-version`.
pub(crate) const OLDEST_RUST: (u32, u32) = (1, 95);
/// The version of bpf-linker.
pub(crate) const LINKER: &str = "0.13.0";
/// Debian's compiler, kept recent for browsers, and the sources of core.
pub(crate) const COMPILER_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];
