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

/// A guest that takes longer hangs.
const SECONDS: &str = "2400";
const MEMORY_MIB: &str = "1024";
const CPUS: &str = "2";

/// What is emulated of an architecture.
struct Emulator {
    program: &'static str,
    machine: &'static [&'static str],
    /// The port that the kernel's console is, and what else it is asked.
    kernel: &'static str,
    /// How a second port is made of qemu's output: `/dev/ttyS1`, on aarch64 `/dev/ttyS0`.
    port: &'static [&'static str],
}

/// This processor: with kvm it hung where we tried, with `max` 6.12 crashes. On a busy host an emulated timer is
/// late, and 5.10 takes it for broken unless an option turns that check off.
const X86_64: Emulator = Emulator {
    program: "qemu-system-x86_64",
    machine: &["-accel", "tcg,thread=single", "-cpu", "qemu64"],
    kernel: "console=ttyS0 no_timer_check",
    port: &["-serial", "stdio"],
};
/// Pointers are signed the quick way: emulated, the true one takes most of the time.
const AARCH64: Emulator = Emulator {
    program: "qemu-system-aarch64",
    machine: &["-machine", "virt", "-accel", "tcg", "-cpu", "max,pauth-impdef=on"],
    kernel: "console=ttyAMA0",
    port: &["-chardev", "stdio,id=report", "-device", "pci-serial,chardev=report"],
};

impl Emulator {
    const fn of(architecture: Architecture) -> &'static Self {
        match architecture {
            Architecture::X86_64 => &X86_64,
            Architecture::Aarch64 => &AARCH64,
        }
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
    let status = read_along(kernel, &folder, MEMORY_MIB, initramfs, |line| {
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
    memory_mib: &str,
    initramfs: &[u8],
    mut read: impl FnMut(&str),
) -> Result<ExitStatus> {
    let (archive, console) = (folder.join("initramfs"), folder.join(CONSOLE));
    fs::write(&archive, initramfs).with_context(|| format!("write {}", archive.display()))?;
    let Emulator { program, machine, kernel: options, port } = Emulator::of(kernel.architecture);
    let mut qemu = command::new("timeout");
    qemu.arg(SECONDS)
        .arg(tool::path(program)?)
        .args(*machine)
        .args(["-smp", CPUS, "-m", memory_mib, "-nic", "none", "-no-reboot"])
        .args(["-display", "none", "-monitor", "none", "-kernel"])
        .arg(kernel.folder().join("vmlinuz"))
        .arg("-initrd")
        .arg(&archive)
        .args(["-append", &format!("{options} panic=-1 rdinit=/init")])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(*port)
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
