//! One guest: boots, is read along, ends.

use super::{
    kernel::GuestKernel,
    report::{GuestLine, GuestReport, SuiteRun},
};
use crate::{command, tool};
use anyhow::{Context as _, Result, bail};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{ExitStatus, Stdio},
};

/// What a guest may take of the host.
#[derive(Clone, Copy)]
pub(crate) struct GuestBounds {
    pub(crate) memory_mib: u32,
    /// If it takes longer it hangs.
    pub(crate) seconds: u32,
}

const OF_SUITES: GuestBounds = GuestBounds { memory_mib: 1024, seconds: 2400 };
const CPUS: &str = "2";
/// On a busy host an emulated timer is late, and 5.10 takes it for broken unless an option turns that check off.
const CMDLINE: &str = "console=ttyS0 panic=-1 no_timer_check rdinit=/init";

/// Boots a kernel with an initramfs and calls `ended` with each run of a suite.
pub(crate) fn boot(
    kernel: &GuestKernel,
    initramfs: &[u8],
    ended: impl Fn(&SuiteRun),
) -> Result<GuestReport> {
    let folder = kernel.folder();
    let (mut report, mut log) = (GuestReport::default(), String::new());
    let status = read_along(kernel, &folder, OF_SUITES, initramfs, |line| {
        log += line;
        log.push('\n');
        if let Some(run) = report.read(GuestLine::of(line)) {
            ended(run);
        }
    })?;
    fs::write(folder.join("report.log"), log).context("keep what the guest reported")?;
    if !report.is_done() {
        bail!("the guest ended early ({status}); its console:\n{}", end_of_console(&folder));
    }
    Ok(report)
}

/// Boots a kernel, whose first process is `/init` of the initramfs, and reads each line that the guest writes to its
/// second port. Its console is `console.log` in the folder.
pub(crate) fn read_along(
    kernel: &GuestKernel,
    folder: &Path,
    bounds: GuestBounds,
    initramfs: &[u8],
    mut read: impl FnMut(&str),
) -> Result<ExitStatus> {
    let (archive, console) = (folder.join("initramfs"), folder.join(CONSOLE));
    fs::write(&archive, initramfs).with_context(|| format!("write {}", archive.display()))?;
    let mut qemu = command::new("timeout");
    // tcg and this processor: with kvm it hung where we tried, with `max` 6.12 crashes.
    qemu.arg(bounds.seconds.to_string())
        .arg(tool::path("qemu-system-x86_64")?)
        .args(["-accel", "tcg,thread=single", "-cpu", "qemu64"])
        .args(["-smp", CPUS, "-m", &bounds.memory_mib.to_string(), "-nic", "none", "-no-reboot"])
        .args(["-display", "none", "-monitor", "none", "-kernel"])
        .arg(kernel.folder().join("vmlinuz"))
        .arg("-initrd")
        .arg(&archive)
        .args(["-append", CMDLINE])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-serial", "stdio"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = qemu.spawn().context("qemu does not start; help: run `cargo xtask setup`")?;
    let output = BufReader::new(child.stdout.take().context("the output was asked for")?);
    for text in output.split(b'\n') {
        let text = text.context("read what the guest reports")?;
        read(&String::from_utf8_lossy(&text));
    }
    let status = child.wait().context("wait for qemu")?;
    drop(fs::remove_file(&archive));
    Ok(status)
}

const CONSOLE: &str = "console.log";

/// The last lines of the console of a guest that ended in this folder.
pub(crate) fn end_of_console(folder: &Path) -> String {
    let text = fs::read(folder.join(CONSOLE)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(60)..).unwrap_or_default().join("\n")
}
