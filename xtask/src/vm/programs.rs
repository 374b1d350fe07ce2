//! The programs of others that guests run: this machine's own, or, for another architecture, Debian's.

use super::{initramfs::Archive, kernel};
use crate::{
    apt::{Apt, Suites},
    architecture::Architecture,
    outcome::talk,
};
use anyhow::{Context as _, Result};
use std::fs;

/// What the tests run.
const PROGRAMS: [&str; 4] = ["ip", "ss", "nft", "cat"];
/// Debian's packages that have them.
const PACKAGES: [&str; 3] = ["coreutils", "iproute2", "nftables"];
/// What no guest runs, and memory would be taken for.
const UNUSED: [&str; 6] =
    ["etc", "usr/lib/aarch64-linux-gnu/gconv", "usr/lib/python3", "usr/share", "var", "unpacked"];

/// Adds them to a guest's file system.
pub(super) fn add(archive: &mut Archive, architecture: Architecture) -> Result<()> {
    if !architecture.is_foreign() {
        return PROGRAMS.iter().try_for_each(|program| archive.add_program(program));
    }
    let folder = kernel::folder(architecture);
    let programs = folder.join("programs");
    if !programs.exists() {
        talk(format_args!("vm: unpacking {} for {}", PACKAGES.join(", "), architecture.debian()));
        let (apt, unpacked) = (folder.join("apt"), folder.join("programs.new"));
        if unpacked.exists() {
            fs::remove_dir_all(&unpacked).context("remove what an earlier run left")?;
        }
        let apt = Apt::of(architecture, apt, Suites::own()?)?;
        apt.unpack_with_dependencies(&PACKAGES, &unpacked)?;
        for path in UNUSED.map(|name| unpacked.join(name)) {
            if path.is_dir() {
                fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
            } else if path.exists() {
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            }
        }
        // The last thing: half an unpacked package is no program.
        fs::rename(&unpacked, &programs).with_context(|| format!("keep {}", programs.display()))?;
        apt.remove()?;
    }
    archive.add_tree(&programs)
}
