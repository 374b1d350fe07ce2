//! Builds the hooks with the BPF toolchain that `cargo xtask setup` made, into `OUT_DIR`.

use aya_build::{Package, Toolchain, build_ebpf};
use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let out = env::var("OUT_DIR")?;
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent-ebpf");
    // SAFETY: a build script has one thread here. Cargo must offer `-Z build-std` on any channel.
    unsafe { env::set_var("RUSTC_BOOTSTRAP", "1") };
    if env::var_os("AYA_BUILD_SKIP").is_some_and(|skip| skip == "1" || skip == "true") {
        // Enough for clippy and for tests that need no kernel.
        fs::write(Path::new(&out).join("keepwatch-hooks"), [])?;
    }
    let package = Package { name: "keepwatch-ebpf", root_dir: root, ..Package::default() };
    build_ebpf([package], Toolchain::Custom("keepwatch-bpf")).map_err(|error| {
        format!("building the hooks: {error:#}\nhelp: `cargo xtask setup` installs what it needs")
            .into()
    })
}
