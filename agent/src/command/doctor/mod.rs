//! `keepwatch doctor`: can keepwatch work here, and what does it not see?

mod verify;
mod without_ebpf;

use super::{Failure, Outcome, output, socket_text::Style, source::Source, table::wrapped};
use crate::{
    config,
    kernel::{
        btf, clock, field_offsets,
        hooks::{self, Error, Hooks, Interest, LogLevel, Scope, Signal},
        host,
        sandbox::{self, Confinement, Sandbox},
    },
    model::table::agent_health::{EventFlow, HostView},
    serve::{AgentStatus, client},
    store,
};
use clap::Args;
use serde::Serialize;
use std::{fs, io::Write, path::PathBuf};

#[derive(Args, Debug)]
#[command(after_help = "\
Exit code 0: nothing is missing; 1: keepwatch sees less than it could, or
a row is wrong; 3: it cannot work here. --verify needs CAP_SYS_PTRACE.

Examples:
  keepwatch doctor                          what is not seen, and why
  keepwatch doctor --json | jq -r 'select(.grade != \"ok\")'
  keepwatch doctor --verify 1000            do rows equal getsockopt?
  keepwatch doctor --hooks tracepoint       does this mechanism work?")]
pub(super) struct DoctorArgs {
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Compare the rows of all sockets, or of N chosen at random, with getsockopt on the very sockets
    #[arg(long, value_name = "N", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "not asked for, asked for all, or for a number")]
    verify: Option<Option<u64>>,
    /// With --verify: read the rows from the agent, from the kernel, or from /proc
    #[arg(long, value_enum, default_value = "auto", requires = "verify")]
    source: Source,
    /// With --verify: write what was found to this file, as node_exporter's textfile collector reads it
    #[arg(long, value_name = "FILE.prom", requires = "verify")]
    textfile: Option<PathBuf>,
    #[command(flatten)]
    owners: config::OwnerArgs,
    #[command(flatten)]
    hooks: config::HookArgs,
}

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Grade {
    /// As it should be.
    Ok,
    /// Everything works; there is something to know.
    Note,
    /// keepwatch sees less than it could.
    Blind,
    /// keepwatch cannot work here.
    Fatal,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    #[serde(rename = "check")]
    name: &'static str,
    grade: Grade,
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, grade: Grade::Ok, found: found.into(), advice: None }
    }

    fn graded(
        name: &'static str,
        grade: Grade,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { name, grade, found: found.into(), advice: Some(advice.into()) }
    }
}

pub(super) fn run(
    args: &DoctorArgs,
    socket: &config::SocketArgs,
    limits: &config::LimitArgs,
    colour: bool,
) -> Result<Outcome, Failure> {
    if let Some(most) = args.verify {
        return verify::run(args, most, socket, limits);
    }
    let mut checks = host_checks();
    checks.extend(hook_checks(args.hooks));
    checks.push(without_ebpf::check());
    checks.extend(agent_checks(socket));
    checks.extend(unseen());
    let mut out = output::stdout();
    if args.json {
        for check in &checks {
            serde_json::to_writer(&mut out, check).map_err(std::io::Error::from)?;
            out.write_all(b"\n")?;
        }
    } else {
        // Read by a program or a pager, a check is one line.
        let columns = output::size().map_or(usize::MAX, |size| size.columns);
        show(&mut out, &checks, columns, Style { colour: output::in_colour(colour) })?;
    }
    out.flush()?;
    let worst = checks.iter().map(|check| check.grade).max();
    Ok(match worst {
        Some(Grade::Fatal) => Outcome::CannotRun,
        Some(Grade::Blind) => Outcome::Finding,
        _ => Outcome::Fine,
    })
}

fn host_checks() -> Vec<Check> {
    let mut checks = vec![Check::ok(
        "kernel",
        format!("{}, {} ticks a second", host::kernel_release(), clock::hz()),
    )];
    let missing = host::missing_capabilities();
    checks.push(if missing.is_empty() {
        Check::ok("privileges", "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN) are held")
    } else {
        let advice = "run as root, or give the process these capabilities (systemd: \
                      AmbientCapabilities=CAP_BPF CAP_PERFMON)";
        Check::graded("privileges", Grade::Fatal, format!("no {}", missing.join(", no ")), advice)
    });
    checks.push(match host::lockdown().as_deref() {
        Some(mode @ "confidentiality") => Check::graded(
            "lockdown",
            Grade::Fatal,
            mode,
            "this mode forbids reading kernel memory: boot with lockdown=integrity or none",
        ),
        Some(mode) => Check::ok("lockdown", mode),
        None => Check::ok("lockdown", "not shown by this kernel"),
    });
    checks.push(match host::view() {
        HostView::Whole => Check::ok("pid namespace", "the host's: every process is seen"),
        HostView::OtherPidNamespace => Check::graded(
            "pid namespace",
            Grade::Blind,
            "not the host's: only this container's processes are seen",
            "start the container with the host's pid namespace (Kubernetes: hostPID: true)",
        ),
        HostView::NoProc => Check::graded(
            "pid namespace",
            Grade::Blind,
            "unknown, for there is no /proc: no connection is shown with its unit, container or pod, and none as `local`",
            "mount one: mount -t proc proc /proc",
        ),
    });
    match field_offsets::of_running_kernel(&[]) {
        Ok(_) => {
            let data = fs::read(btf::VMLINUX).unwrap_or_default();
            let timer = field_offsets::chosen("keepalive_timer", &data).unwrap_or("?");
            checks.push(Check::ok("kernel types", format!("complete; keepalive timer is {timer}")));
        }
        Err(error) => checks.push(Check::graded(
            "kernel types",
            Grade::Fatal,
            error.to_string(),
            "use a kernel with CONFIG_DEBUG_INFO_BTF",
        )),
    }
    checks
}

fn hook_checks(args: config::HookArgs) -> Vec<Check> {
    let config::HookArgs { hooks: mechanism, log_hooks: log } = args;
    let interest = Interest::default();
    let scope = Scope::Events { ring_bytes: 4096, mechanism, interest, log };
    let mut hooks = match Hooks::load(scope) {
        Ok(hooks) => hooks,
        Err(error) => {
            let found = told(&error);
            return vec![Check::graded(
                "hooks",
                Grade::Fatal,
                found,
                "remove the cause that is named above",
            )];
        }
    };
    let mut checks: Vec<Check> = hooks
        .status()
        .iter()
        .map(|status| {
            let name = status.signal.as_str();
            match &status.failure {
                None => Check::ok(name, carried_by(status)),
                Some(failure) => Check::graded(
                    name,
                    match status.signal {
                        Signal::Snapshot => Grade::Fatal,
                        signal if signal.is_needed() => Grade::Blind,
                        _ => Grade::Note,
                    },
                    told(failure),
                    format!("blind to {}", status.signal.blind_without()),
                ),
            }
        })
        .collect();
    checks.push(Check::ok(
        "hook log",
        match log {
            LogLevel::Off => {
                "compiled in and off; `--log-hooks LEVEL` of run, trace and check logs what goes \
                          wrong inside hooks"
                    .to_owned()
            }
            level => format!("the kernel takes the hooks with a log at level {}", level.as_str()),
        },
    ));
    checks.push(walk_check(&mut hooks));
    checks
}

/// The mechanism, and why it is not a better one.
fn carried_by(status: &hooks::SignalStatus) -> String {
    let mut text = format!("{} attached", status.mechanism);
    match status.passed_over.first() {
        // Other hooks are there: nothing is wrong with this process, and nothing is to be done.
        Some(Error::Refused { attempt }) => {
            text += &format!("; not the first choice: the kernel refuses (EPERM) to {attempt}");
        }
        Some(error) => text.push_str(&format!("; not the first choice: {}", told(error))),
        None => {}
    }
    text
}

/// An error without the hint to ask the doctor.
fn told(error: &Error) -> String {
    match error {
        Error::Privilege { missing } => {
            format!("cannot be loaded: needs {}", missing.join(" and "))
        }
        Error::Refused { attempt } => format!(
            "the kernel refuses (EPERM) to {attempt} although the capabilities are held: is this a \
             user namespace, or does seccomp or an LSM forbid bpf(2)?"
        ),
        error => error.to_string(),
    }
}

/// A walk succeeds only if it also read our own test socket correctly.
fn walk_check(hooks: &mut Hooks) -> Check {
    let began = clock::cpu_seconds();
    let mut n_descriptors = 0_u64;
    let walked = hooks.snapshot().map_err(|error| error.to_string()).and_then(|mut snapshot| {
        while snapshot.read(|_| n_descriptors += 1).map_err(|error| error.to_string())? {}
        Ok(())
    });
    match walked {
        Ok(()) => Check::ok(
            "self-test",
            format!(
                "read {n_descriptors} TCP descriptors in {:.1} ms of CPU, and our own test socket correctly",
                (clock::cpu_seconds() - began) * 1000.0
            ),
        ),
        Err(error) => Check::graded(
            "self-test",
            Grade::Fatal,
            error,
            "do not trust what keepwatch says on this kernel; report its version",
        ),
    }
}

fn agent_checks(socket: &config::SocketArgs) -> Vec<Check> {
    match client::status(&socket.socket) {
        Ok(status) => vec![
            Check::ok("agent", format!("runs as process {}{}", status.pid, log_of(&status))),
            without_ebpf::of_agent(&status).unwrap_or_else(|| conservation(&status.flow)),
            history(status.history.as_ref()),
            sandbox_of("the agent", status.sandbox.as_ref()),
        ],
        // It names the way out itself.
        Err(error) => {
            let found = error.to_string();
            vec![
                Check { name: "agent", grade: Grade::Note, found, advice: None },
                sandbox_of("an agent here", Some(&sandbox::of_this_kernel())),
            ]
        }
    }
}

/// What an agent has given up, or could.
fn sandbox_of(whose: &str, sandbox: Option<&Sandbox>) -> Check {
    let Some(sandbox) = sandbox else {
        let advice = "restart it with this version, which bounds itself";
        return Check::graded("sandbox", Grade::Note, "this agent has none", advice);
    };
    let of_part = |(name, part): (&str, &Confinement)| match (part.in_force, &part.missing) {
        (true, None) => format!("{name} whole"),
        (true, Some(missing)) => format!("{name} in part ({missing}: seccomp is to do that)"),
        (false, missing) => format!("no {name}: {}", missing.as_deref().unwrap_or("unknown why")),
    };
    let found = format!("{whose} has {}", sandbox.parts().map(of_part).join("; "));
    if sandbox.parts().iter().all(|(_, part)| part.in_force) {
        Check::ok("sandbox", found)
    } else {
        let advice = "let systemd bound it: deploy/keepwatch.service does, with a user of its own";
        Check::graded("sandbox", Grade::Note, found, advice)
    }
}

/// What the agent logs of its hooks' own troubles.
fn log_of(status: &AgentStatus) -> String {
    let level = status.log_hooks.as_ref();
    level.map_or_else(String::new, |level| format!("; the log of its hooks is at level {level}"))
}

/// Whether what happens is written down.
fn history(status: Option<&store::HistoryStatus>) -> Check {
    let Some(status) = status else {
        let advice = "restart it with this version, which keeps one";
        return Check::graded("history", Grade::Note, "this agent keeps no history", advice);
    };
    let lost = |reason: &str| status.lost.get(reason).copied().unwrap_or_default();
    let n_lost = lost("queue") + lost("disk");
    let found = format!(
        "{} {} written to {}, {} KiB in use, {n_lost} lost",
        status.written,
        if status.written == 1 { "record" } else { "records" },
        status.folder.display(),
        status.bytes / 1024
    );
    match &status.trouble {
        Some(trouble) => {
            let advice = "make room, or name another folder with --state-dir; the agent tries again \
                          by itself";
            Check::graded("history", Grade::Blind, format!("{trouble}; {found}"), advice)
        }
        None if n_lost > 0 => {
            let advice = "what was lost is gone: `keepwatch why` may not know of it";
            Check::graded("history", Grade::Note, found, advice)
        }
        None => Check::ok("history", found),
    }
}

/// Where each event since the agent's start went: the counts must add up.
fn conservation(flow: &EventFlow) -> Check {
    /// A hook that ran while its counters were read has been seen, and no more: one a CPU.
    const RUNNING: u64 = 1024;
    let EventFlow {
        seen,
        submitted,
        dropped,
        skipped,
        unseen,
        filtered,
        received,
        decoded,
        undecodable,
    } = flow;
    let found = format!(
        "{seen} seen = {submitted} passed on + {filtered} of no interest + {dropped} lost in a full \
         ring; {received} received = {decoded} understood + {undecodable} not understood; the kernel \
         skipped {skipped} runs of hooks, and snapshots found {unseen} more that it left out"
    );
    if seen.abs_diff(submitted + dropped + filtered) > RUNNING || *received != decoded + undecodable
    {
        let advice = "this should not be: please report it, with the kernel's version";
        Check::graded("events", Grade::Blind, found, advice)
    } else if *unseen > 0 {
        let advice = "this kernel sometimes skips tracing hooks (every tool's) without reporting it; \
                      snapshots noticed: affected deaths are reported late, with cause `unknown`, and \
                      probe counts are too low";
        Check::graded("events", Grade::Note, found, advice)
    } else if flow.n_lost() > 0 {
        let advice = "snapshots have corrected the table; a larger --ring-bytes loses fewer";
        Check::graded("events", Grade::Note, found, advice)
    } else {
        Check::ok("events", found)
    }
}

/// What no mechanism in use can see, whatever the kernel.
/// What is not seen, whatever the hooks.
fn unseen() -> [Check; 1] {
    let enters = host::enters_network_namespaces();
    let found = if enters {
        "sockets without a descriptor (the kernel's own, in an accept queue) that are older than the agent, in network \
         namespaces without a process"
    } else {
        "sockets without a descriptor (the kernel's own, in an accept queue) that are older than the agent, in other \
         network namespaces than its own"
    };
    let advice = if enters {
        "the agent learns of them once their state changes"
    } else {
        "start the agent with CAP_SYS_ADMIN, which it gives up, to list them; else it learns of them once their state \
         changes"
    };
    [Check::graded("unseen", Grade::Note, found, advice)]
}

fn show(
    out: &mut impl Write,
    checks: &[Check],
    columns: usize,
    style: Style,
) -> std::io::Result<()> {
    /// Below that lines are broken by the terminal: there is no room beside the names.
    const NARROWEST: usize = 20;
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    for Check { name, grade, found, advice } in checks {
        let mark = match grade {
            Grade::Ok => style.paint("ok   ", "32"),
            Grade::Note => style.paint("note ", "2"),
            Grade::Blind => style.paint("BLIND", "33"),
            Grade::Fatal => style.paint("FATAL", "1;31"),
        };
        let room = columns.saturating_sub(width + 8).max(NARROWEST);
        let mut lines = wrapped(found, room).into_iter();
        writeln!(out, "{mark} {name:width$}  {}", lines.next().unwrap_or_default())?;
        for line in lines {
            writeln!(out, "      {:width$}  {line}", "")?;
        }
        let advice = advice.iter().flat_map(|advice| wrapped(advice, room.saturating_sub(3)));
        for (number, line) in advice.enumerate() {
            let arrow = if number == 0 { "->" } else { "  " };
            writeln!(out, "      {:width$}  {arrow} {line}", "")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(columns: usize) -> Vec<String> {
        let checks = [
            Check::ok("kernel", "7.2, 250 ticks a second"),
            Check::graded(
                "pid namespace",
                Grade::Blind,
                "not the host's: only this container's processes are seen",
                "start the container with the host's pid namespace (Kubernetes: hostPID: true)",
            ),
        ];
        let mut out = Vec::new();
        show(&mut out, &checks, columns, Style { colour: false }).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn on_a_terminal_lines_are_broken_beside_the_names() {
        assert_eq!(
            shown(60),
            [
                "ok    kernel         7.2, 250 ticks a second",
                "BLIND pid namespace  not the host's: only this container's",
                "                     processes are seen",
                "                     -> start the container with the host's",
                "                        pid namespace (Kubernetes: hostPID:",
                "                        true)",
            ]
        );
        assert!(shown(1).iter().all(|line| line.len() < 45), "however narrow it is");
    }

    #[test]
    fn elsewhere_a_check_is_a_line_and_its_advice_another() {
        assert_eq!(shown(usize::MAX).len(), 3);
    }

    #[test]
    fn the_doctor_sends_nobody_to_the_doctor() {
        let errors = [
            Error::Privilege { missing: vec!["CAP_BPF"] },
            Error::Refused { attempt: "load the hook x".to_owned() },
        ];
        for error in errors {
            assert!(error.to_string().contains("keepwatch doctor"));
            assert!(!told(&error).contains("keepwatch doctor"), "{}", told(&error));
        }
    }
}
