//! `/init` of the guests that `cargo xtask vm` boots: reads `/plan`, reports on the second serial
//! port, whose name it finds as `report_port` in its environment, powers off.
//!
//! A report is the tests' own output between lines that begin with `@`: `@kernel VERSION`,
//! `@feature yes|no NAME`, `@doctor MECHANISM JSON`, `@begin SUITE MECHANISM`, `@end SUITE MECHANISM CODE SECONDS`,
//! `@error TEXT` and, as the last thing, `@done`.
#![expect(clippy::expect_used, reason = "part of the tests: a guest that fails here has no report")]

use keepwatch_tests::{
    answer::agent::bpf_needs_capabilities,
    kernel::sandboxed::has_landlock,
    tool,
    wait::{self, now},
};
use rustix::{
    mount::{MountFlags, mount},
    process::{Pid, Resource, Rlimit, Signal, kill_process_group, setrlimit},
    system::{RebootCommand, finit_module, reboot},
};
use std::{
    env,
    error::Error,
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

const FOLDER: &str = "/tests";
const TRACING: &str = "/sys/kernel/tracing";
/// What the mechanisms hook.
const TIMER: &str = "tcp_keepalive_timer";
/// The modules of a middlebox.
const MIDDLEBOX: [&str; 5] = ["nf_tables", "nft_ct", "nft_chain_nat", "nft_nat", "nft_reject_inet"];
const N_FILES: u64 = 524_288;
/// At most this number of failures is tried once more, alone: emulation on a busy machine takes away seconds,
/// and the newest kernels skip a hook while a task that was preempted is in it. More than any suite has:
/// the time that a suite may take is the limit.
const MOST_AGAIN: usize = 24;
/// A suite that takes longer hangs.
const SUITE_WITHIN: Duration = Duration::from_mins(6);

fn main() {
    let mounts = [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/run"),
        ("tracefs", TRACING),
    ];
    for (kind, place) in mounts {
        fs::create_dir_all(place).expect("a folder to mount on");
        mount(kind, place, kind, MountFlags::empty(), None).expect(place);
    }
    let port = Path::new("/dev").join(env::var_os("report_port").expect("the port's name"));
    let mut report = ReportPort(File::options().write(true).open(&port).expect("a second port"));
    // As systemd gives to services.
    let limit = Rlimit { current: Some(N_FILES), maximum: Some(N_FILES) };
    setrlimit(Resource::Nofile, limit).expect("RLIMIT_NOFILE");
    if let Err(error) = follow(&mut report) {
        report.say(format_args!("error {error}"));
    }
    report.say(format_args!("done"));
    reboot(RebootCommand::PowerOff).expect("power off");
}

/// Does what the plan says, in its order.
fn follow(report: &mut ReportPort) -> Result<(), Box<dyn Error>> {
    let plan = fs::read_to_string("/plan").map_err(|error| format!("/plan: {error}"))?;
    report.say(format_args!("kernel {}", fs::read_to_string("/proc/version")?.trim()));
    let mut missing = Vec::new();
    for line in plan.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["module", path] => finit_module(File::open(path)?, c"", 0)
                .map_err(|error| format!("load {path}: {error}"))?,
            ["ready"] => {
                command("ip").args(["link", "set", "lo", "up"]).status()?;
                missing = missing_features(report);
                doctor(report)?;
            }
            ["run", _, mechanism, ..] if missing.contains(mechanism) => {}
            ["run", suite, mechanism, rest @ ..] => {
                let failed = run(report, suite, mechanism, &mut tests(suite, mechanism, rest))?;
                if (1..=MOST_AGAIN).contains(&failed.len()) {
                    let alone = ["--test-threads=1", "--exact"].map(String::from);
                    let words: Vec<&str> =
                        alone.iter().chain(&failed).map(String::as_str).collect();
                    run(report, suite, mechanism, &mut tests(suite, mechanism, &words))?;
                }
            }
            ["bench", args @ ..] => {
                command("ip").args(["link", "set", "lo", "up"]).status()?;
                run(report, "bench", "any", command(format!("{FOLDER}/bench")).args(args))?;
            }
            _ => return Err(format!("/plan: not understood: {line}").into()),
        }
    }
    Ok(())
}

/// What this kernel has, asked without keepwatch: so that it cannot hide behind its own mistake.
/// Says all, and returns what is missing.
fn missing_features(report: &mut ReportPort) -> Vec<&'static str> {
    let types = fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
    let typed = |name: &str| {
        let name = format!("\0{name}\0");
        types.windows(name.len()).any(|at| at == name.as_bytes())
    };
    let in_tracing = |file: &str| Path::new(TRACING).join(file);
    // Ftrace's own list, which BPF's trampolines use too.
    let functions = fs::read_to_string(in_tracing("available_filter_functions"));
    let functions = functions.unwrap_or_default();
    let has_function = |name: &str| functions.lines().any(|line| line == name);
    let names = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let has_name = |name: &str| names.lines().any(|line| line.split(' ').nth(2) == Some(name));
    let has_event = |name: &str| in_tracing("events").join(name).is_dir();
    let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
    let has_module = |name: &str| modules.lines().any(|line| line.split(' ').next() == Some(name));
    // Opened for writing, the file forgets what it had: the second write removes the first's probe.
    let kprobe = |text: &str| fs::write(in_tracing("kprobe_events"), text).is_ok();
    let features = [
        // Trampolines call BPF from there: arm64 can since 6.4 (`register_ftrace_direct` in kernel/trace/ftrace.c).
        ("fentry", typed(TIMER) && has_function(TIMER) && has_name("register_ftrace_direct")),
        ("kprobe", kprobe(&format!("p:check {TIMER}")) && kprobe("")),
        (
            "tracepoint",
            has_event("timer/timer_expire_entry") && has_event("timer/timer_expire_exit"),
        ),
        ("a middlebox", MIDDLEBOX.into_iter().all(has_module)),
        ("io_uring commands", has_function("io_uring_cmd_sock")),
        (
            "32-bit system calls",
            ["entry_INT80_compat", "do_int80_emulation"].into_iter().any(has_name),
        ),
        ("reset reasons", typed("SK_RST_REASON_TCP_KEEPALIVE_TIMEOUT")),
        ("socket cookies", tool::kernel_has_cookies_for_hooks()),
        ("an agent without capabilities", !bpf_needs_capabilities()),
        ("MPTCP", Path::new("/proc/sys/net/mptcp").is_dir()),
        ("kTLS", has_module("tls")),
        ("landlock", has_landlock()),
        ("a window that stays closed", Path::new("/proc/sys/net/ipv4/tcp_rto_max_ms").exists()),
        ("a wall clock that may be set", true),
        ("Yama that may be set", Path::new("/proc/sys/kernel/yama").is_dir()),
        ("iterators over one process", tool::kernel_has_process_iterators()),
    ];
    for (name, has) in features {
        report.say(format_args!("feature {} {name}", if has { "yes" } else { "no" }));
    }
    features.into_iter().filter(|(_, has)| !has).map(|(name, _)| name).collect()
}

/// What keepwatch says of this kernel, left to itself and with each mechanism forced.
fn doctor(report: &mut ReportPort) -> Result<(), Box<dyn Error>> {
    for mechanism in ["auto", "fentry", "kprobe", "tracepoint"] {
        let mut doctor = command(format!("{FOLDER}/keepwatch"));
        doctor.args(["doctor", "--json", "--hooks", mechanism]).stderr(Stdio::inherit());
        for line in String::from_utf8_lossy(&doctor.output()?.stdout).lines() {
            report.say(format_args!("doctor {mechanism} {line}"));
        }
    }
    Ok(())
}

/// The command of a suite.
fn tests(suite: &str, mechanism: &str, args: &[&str]) -> Command {
    let mut tests = command(format!("{FOLDER}/deps/{suite}"));
    if mechanism != "any" {
        tests.env("KEEPWATCH_HOOKS", mechanism);
    }
    tests.args(["--color", "never", "--show-output"]).args(args);
    tests
}

/// Runs a suite and names the tests of it that failed.
fn run(
    report: &mut ReportPort,
    suite: &str,
    mechanism: &str,
    program: &mut Command,
) -> Result<Vec<String>, Box<dyn Error>> {
    report.say(format_args!("begin {suite} {mechanism}"));
    let began = now();
    let mut running = program
        .stdout(Stdio::piped())
        .stderr(report.0.try_clone()?)
        .process_group(0)
        .spawn()
        .map_err(|error| format!("start {suite}: {error}"))?;
    let group = Pid::from_child(&running);
    let output = running.stdout.take().ok_or("its output was asked for")?;
    let mut to = report.0.try_clone()?;
    let reader = thread::spawn(move || {
        let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
        let mut failed = Vec::new();
        for mut line in lines {
            let text = String::from_utf8_lossy(&line);
            let name = text.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"));
            failed.extend(name.map(String::from));
            line.push(b'\n');
            drop(to.write_all(&line));
        }
        failed
    });
    let status = wait::within(SUITE_WITHIN, || running.try_wait().ok().flatten());
    if status.is_none() {
        // The kernel says on its console who waits for what.
        fs::write("/proc/sysrq-trigger", "w")?;
        report.say(format_args!("error {suite} hung and was killed"));
    }
    // With all that it has started and not ended.
    let _nobody_left = kill_process_group(group, Signal::KILL);
    let failed = reader.join().unwrap_or_default();
    let code = status.and_then(|status| status.code()).unwrap_or(-1);
    let seconds = began.elapsed().as_secs_f64();
    report.say(format_args!("end {suite} {mechanism} {code} {seconds:.1}"));
    Ok(failed)
}

fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("KEEPWATCH_BIN", format!("{FOLDER}/keepwatch"))
        .stdin(Stdio::null());
    command
}

/// The second serial port. The first is the kernel's.
struct ReportPort(File);

impl ReportPort {
    fn say(&mut self, line: std::fmt::Arguments<'_>) {
        // Nobody is left to tell if this fails; the host notices that the end is missing.
        drop(writeln!(self.0, "@{line}"));
    }
}
