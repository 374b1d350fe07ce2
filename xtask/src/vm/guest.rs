//! One guest: boots, is read along, ends.

use super::{
    kernel::GuestKernel,
    report::{GuestLine, GuestReport, SuiteRun},
};
use crate::{architecture::Architecture, command, tool};
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

/// The machine that is emulated for an architecture.
struct GuestMachine {
    /// Of qemu.
    program: &'static str,
    hardware: &'static [&'static str],
    /// A second port, on what this process reads.
    report: &'static [&'static str],
    /// What the kernel is told. A word with `=` that it does not know is in the environment of `/init`.
    cmdline: &'static str,
}

/// tcg and this processor: with kvm it hung where we tried, with `max` 6.12 crashes.
/// On a busy host an emulated timer is late, and 5.10 takes it for broken unless an option turns that check off.
const X86_64: GuestMachine = GuestMachine {
    program: "qemu-system-x86_64",
    hardware: &["-accel", "tcg,thread=single", "-cpu", "qemu64"],
    report: &["-serial", "stdio"],
    cmdline: "console=ttyS0 report_port=ttyS1 panic=-1 no_timer_check rdinit=/init",
};

/// The virtual machine has one port of its own, where the console is; the second is on a card. Pointer authentication
/// as the architecture defines it takes half of the time of an emulated processor.
const AARCH64: GuestMachine = GuestMachine {
    program: "qemu-system-aarch64",
    hardware: &["-machine", "virt", "-accel", "tcg,thread=single", "-cpu", "max,pauth-impdef=on"],
    report: &["-chardev", "stdio,id=report", "-device", "pci-serial,chardev=report"],
    cmdline: "console=ttyAMA0 report_port=ttyS0 panic=-1 rdinit=/init",
};

const fn machine(architecture: Architecture) -> GuestMachine {
    match architecture {
        Architecture::X86_64 => X86_64,
        Architecture::Aarch64 => AARCH64,
    }
}

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
    let GuestMachine { program, hardware, report, cmdline } = machine(kernel.architecture);
    qemu.arg(bounds.seconds.to_string())
        .arg(tool::path(program)?)
        .args(hardware)
        .args(["-smp", CPUS, "-m", &bounds.memory_mib.to_string(), "-nic", "none", "-no-reboot"])
        .args(["-display", "none", "-monitor", "none", "-kernel"])
        .arg(kernel.folder().join("vmlinuz"))
        .arg("-initrd")
        .arg(&archive)
        .args(["-append", cmdline])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(report)
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
