//! The package under a systemd that is process 1: in a guest with Debian's kernel, whose root is made by debootstrap.

use super::{
    boot_steps::{PRELUDE, STEPS},
    contents,
};
use crate::{
    architecture::Architecture,
    fresh::root::Bed,
    outcome::talk,
    place,
    purpose::Purpose,
    setup,
    vm::{
        guest::{self, GuestBounds},
        initramfs::Archive,
        kernel::{GuestKernel, kernel},
    },
};
use anyhow::{Context as _, Result, bail};
use std::{fs, os::unix::fs::symlink, path::Path, time::Instant};

/// Debian 12's own.
const KERNEL: &str = "6.1";
/// The root is in memory, too. All steps take some 10 minutes on a host that has little else to do.
const BOUNDS: GuestBounds = GuestBounds { memory_mib: 2560, seconds: 7200 };
/// What is in the root beside the least.
const PACKAGES: &str = "curl,iproute2,kmod,netcat-openbsd,procps,systemd-sysv";
/// Starts the trial as soon as the system is up.
const UNIT: &str = "[Service]\nExecStart=/bin/sh /trial/run\n";
/// On a busy host what is emulated may take longer to start than a service may.
const PATIENCE: &str = "[Manager]\nDefaultTimeoutStartSec=10min\nDefaultTimeoutStopSec=10min\n";
/// Takes the steps and reports on the second serial port. bash writes what it runs beside what the steps say.
const RUN: &str = r#"exec > /dev/ttyS1 2>&1
for step in /trial/steps/*; do
    echo "@step $(basename "$step")"
    cat /trial/prelude "$step" > /run/step
    if BASH_XTRACEFD=9 timeout 900 bash -ex /run/step < /dev/null 9> /run/trace; then
        echo "@ok"
    else
        echo "its last commands:"
        tail -n 12 /run/trace
        systemctl --no-pager --full status 'keepwatch*'
        journalctl --no-pager --lines 30
        echo "@failed"
    fi
done
echo "@done"
poweroff -ff
"#;

/// Boots, and takes the steps with two versions of the package.
pub(super) fn run(dist: &Path, old: &Path, new: &Path) -> Result<()> {
    setup::prepare(Purpose::Roots)?;
    let bed = Bed::new(place::root().join("target/dist-boot"), PACKAGES)?;
    take_steps(&bed.base(), &dist.join("work/boot"), old, new)
}

/// Makes the root one to boot, boots it, and shows each step. The console is kept in the folder.
fn take_steps(root: &Path, folder: &Path, old: &Path, new: &Path) -> Result<()> {
    talk(format_args!("boot: systemd, in a guest with Linux {KERNEL}"));
    let kernel = kernel(Architecture::X86_64, KERNEL).context("its kernel")?;
    furnish(root, kernel, old, new)?;
    let mut archive = Archive::default();
    archive.add_tree(root)?;
    contents::make(folder)?;
    let mut report = BootReport::new();
    let archive = archive.finished();
    guest::read_along(kernel, folder, BOUNDS, &archive, |line| report.read(line.trim_end()))?;
    report.conclude(folder)
}

/// Makes the root one to boot: what the kernel starts, the trial, both packages, and modules for a pair of cables.
fn furnish(root: &Path, kernel: &GuestKernel, old: &Path, new: &Path) -> Result<()> {
    let trial = root.join("trial");
    for folder in ["steps", "modules"] {
        contents::make(&trial.join(folder))?;
    }
    let wanted = root.join("etc/systemd/system/multi-user.target.wants");
    contents::make(&wanted)?;
    let write = |path: &Path, text: &str| {
        fs::write(path, text).with_context(|| format!("write {}", path.display()))
    };
    write(&root.join("etc/systemd/system/trial.service"), UNIT)?;
    write(&root.join("etc/hostname"), "guest\n")?;
    let manager = root.join("etc/systemd/system.conf.d");
    contents::make(&manager)?;
    write(&manager.join("trial.conf"), PATIENCE)?;
    write(&trial.join("run"), RUN)?;
    write(&trial.join("prelude"), PRELUDE)?;
    for (number, step) in STEPS.iter().enumerate() {
        write(&trial.join(format!("steps/{number:02}")), step.script)?;
    }
    // Nobody logs in, and without udev it would wait for its device.
    let masked = root.join("etc/systemd/system/serial-getty@ttyS0.service");
    symlink("/dev/null", masked).context("mask the login at the console")?;
    symlink("../trial.service", wanted.join("trial.service")).context("enable the trial")?;
    symlink("sbin/init", root.join("init")).context("name what the kernel starts")?;
    let mut files =
        vec![(old.to_path_buf(), "old.deb".into()), (new.to_path_buf(), "new.deb".into())];
    for module in kernel.modules()? {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        let to = format!("modules/{name}");
        files.push((module, to));
    }
    for (from, to) in files {
        fs::copy(&from, trial.join(to)).with_context(|| format!("copy {}", from.display()))?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "this is a stopwatch for the reader")]
fn now() -> Instant {
    Instant::now()
}

/// What the guest says, step by step.
struct BootReport {
    /// When the step began that is being taken.
    since: Instant,
    what: &'static str,
    said: Vec<String>,
    n_passed: usize,
    is_done: bool,
}

impl BootReport {
    fn new() -> Self {
        let since = now();
        Self { since, what: "the guest boots", said: Vec::new(), n_passed: 0, is_done: false }
    }

    fn read(&mut self, line: &str) {
        match line.strip_prefix('@').map(|mark| mark.split_once(' ').unwrap_or((mark, ""))) {
            Some(("step", number)) => {
                let step = number.parse().ok().and_then(|number: usize| STEPS.get(number));
                self.what = step.map_or("a step that is not known", |step| step.what);
                self.since = now();
                self.said.clear();
            }
            Some(("ok", _)) => {
                self.n_passed += 1;
                self.show("");
            }
            Some(("failed", _)) => self.show("FAILED: "),
            Some(("done", _)) => self.is_done = true,
            // Before a failure this is also what systemd says of it.
            _ if !line.is_empty() => self.said.push(line.into()),
            _ => {}
        }
    }

    fn show(&self, how: &str) {
        talk(format_args!("  {how}{} ({} s)", self.what, self.since.elapsed().as_secs()));
        for line in &self.said {
            talk(format_args!("      {line}"));
        }
    }

    fn conclude(&self, folder: &Path) -> Result<()> {
        if self.n_passed == STEPS.len() {
            return Ok(());
        }
        if !self.is_done {
            let (what, said) = (self.what, self.said.join("\n"));
            let console = guest::end_of_console(folder);
            bail!("boot: the guest ended early: {what}:\n{said}\nits console:\n{console}");
        }
        bail!(
            "boot: {} steps of {} failed; help: see above",
            STEPS.len() - self.n_passed,
            STEPS.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{BootReport, PRELUDE, STEPS};

    #[test]
    fn only_a_guest_that_took_every_step_is_a_success() {
        let folder = std::env::temp_dir();
        let mut report = BootReport::new();
        for number in 0..STEPS.len() - 1 {
            report.read(&format!("@step {number:02}"));
            report.read("@ok");
        }
        report.read(&format!("@step {:02}", STEPS.len() - 1));
        assert!(report.conclude(&folder).is_err(), "it ended early");
        report.read("@ok");
        assert!(report.conclude(&folder).is_ok());
        let mut report = BootReport::new();
        report.read("@step 01");
        report.read("some text");
        let error = report.conclude(&folder).expect_err("no end").to_string();
        assert!(error.contains(STEPS[1].what) && error.contains("some text"), "{error}");
        report.read("@failed");
        report.read("@done");
        let error = report.conclude(&folder).expect_err("a failed step").to_string();
        assert!(error.contains("steps of"), "{error}");
    }

    #[test]
    fn a_step_fails_by_what_should_not_be() {
        for step in &STEPS {
            // The shell ends for no pipeline that begins with `!`.
            assert!(
                !step.script.lines().any(|line| line.trim().starts_with("! ")),
                "{}",
                step.what
            );
        }
        assert!(PRELUDE.contains("not()"));
    }
}
