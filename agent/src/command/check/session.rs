//! Running a command and judging its connections, by hooks of its own.

use super::{
    CheckArgs, Error,
    child::{Running, exit_code},
    followed::Followed,
    has_conditions,
    output::Output,
    report::Report,
    user::User,
};
use crate::{
    command::{
        Failure, Outcome,
        near::{self, FilterPart},
    },
    config,
    kernel::{
        clock,
        hooks::{HookLog, Hooks, Interest, Scope, Signal},
        host,
        ring::Ring,
    },
    model::{judgement::verdict::Surroundings, observed::socket::Socket, text::sanitize::escaped},
    view::filter::Filter,
};
use std::{io, os::unix::ffi::OsStrExt as _, time::Duration};
use tracing::error;

pub(super) fn check(
    args: &CheckArgs,
    limits: &config::LimitArgs,
    colour: bool,
) -> Result<Outcome, Failure> {
    let policy = args.policy.policy(&args.filter)?;
    let user = match &args.user {
        Some(name) => Some(User::named(name).ok_or_else(|| Error::User(name.clone()))?),
        None => User::of_sudo(),
    };
    let output = Output::open(args, colour)?;
    let wants_calls = policy.want_failed_calls();
    let mut report = Report::new(policy, limits.surroundings());
    // The command shall not inherit what loading needs.
    let memory_lock = host::memory_lock();
    let mut hooks = load(args, wants_calls)?;
    host::restore_memory_lock(memory_lock);
    adopt_orphans().map_err(Error::Adopt)?;
    // By it the hooks learn whose descendants they are to report.
    let mut walk = hooks.snapshot()?;
    while walk.read(drop)? {}
    report.sum.source = String::from("hooks of its own");
    let name = escaped(args.command.join(" ".as_ref()).as_bytes());
    let mut session = CommandSession {
        ring: hooks.ring()?,
        log: hooks.log()?,
        followed: Followed::default(),
        filter: args.filter.clone(),
        n_lost_before: hooks.counts()?.dropped,
        n_skipped_before: hooks.n_changes_skipped(),
        n_undecodable: 0,
        unwanted: Unwanted::of(&args.filter),
        allows_none: args.allow_none,
        report,
    };
    let began = clock::now();
    let started = Running::start(&args.command, user.as_ref());
    let running = started.map_err(|cause| {
        let command = args.command.first().map(|word| escaped(word.as_bytes()));
        Error::Start { command: command.unwrap_or_default(), cause }
    })?;
    let watched = session.watch(&running);
    let took = Duration::from_millis(clock::now().ms_since(began));
    let code = *watched.as_ref().unwrap_or(&0);
    let told = watched.and_then(|code| session.finish(&mut hooks, code)).and_then(|report| {
        let finding = report.has_findings();
        output.command(&report, &name, took)?;
        Ok(finding)
    });
    match (told, code) {
        (Ok(true), 0) => Ok(Outcome::Finding),
        (Ok(_), code) => Ok(Outcome::Command(code)),
        (Err(failure), 0) => Err(failure),
        // The command's own failure is what counts.
        (Err(failure), code) => {
            error!("{}", crate::log::in_full(&failure));
            Ok(Outcome::Command(code))
        }
    }
}

fn load(args: &CheckArgs, wants_calls: bool) -> Result<Hooks, Failure> {
    let scope = Scope::Events {
        ring_bytes: args.ring_bytes,
        mechanism: args.hooks.hooks,
        interest: Interest { descendants: 1, ..Interest::default() },
        log: args.hooks.log_hooks,
    };
    let mut hooks = Hooks::load(scope)?.require(Signal::Snapshot)?.require(Signal::StateChange)?;
    if wants_calls {
        hooks = hooks.require(Signal::Setsockopt)?;
    }
    Ok(hooks)
}

/// A process that loses its parent becomes this one's child, not that of process 1: so each descendant's
/// line of parents leads here.
fn adopt_orphans() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// The hooks wake the reader when much has come; else it comes by this often.
const TICK: Duration = Duration::from_millis(100);

/// A command under watch.
struct CommandSession {
    ring: Ring,
    log: Option<HookLog>,
    followed: Followed,
    filter: Filter,
    /// Before the command was started.
    n_lost_before: u64,
    n_skipped_before: u64,
    n_undecodable: u64,
    unwanted: Unwanted,
    allows_none: bool,
    report: Report,
}

impl CommandSession {
    /// Takes events until the command ends: its exit code.
    fn watch(&mut self, running: &Running) -> Result<u8, Failure> {
        loop {
            self.ring.wait_or(&*running.pidfd, TICK).map_err(Error::Wait)?;
            self.drain();
            self.log.as_mut().map_or(Ok(()), |log| log.flush(clock::now()))?;
            if let Some(status) = running.ended().map_err(Error::Wait)? {
                // A process closes its sockets before it is seen to end.
                self.drain();
                return Ok(exit_code(status));
            }
        }
    }

    fn drain(&mut self) {
        let Self { ring, followed, filter, n_undecodable, unwanted, report, .. } = self;
        ring.drain(|record, _| match record {
            Ok(event) => {
                if let Some(sampled) = followed.apply(&event) {
                    if is_wanted(filter, &sampled.socket, &report.around) {
                        report.add(sampled.judged(&report.around));
                    } else {
                        unwanted.add(&sampled.socket, &report.around);
                    }
                }
            }
            Err(_) => *n_undecodable += 1,
        });
    }

    /// Judges what still lives, and tells what was not seen.
    fn finish(mut self, hooks: &mut Hooks, code: u8) -> Result<Report, Failure> {
        if self.followed.has_live() {
            // No event tells a change without a call.
            let mut walk = hooks.snapshot()?;
            let followed = &mut self.followed;
            while walk.read(|event| drop(followed.apply(&event)))? {}
            if let Some(mut walk) = hooks.subflows()? {
                while walk.read(|event| drop(followed.apply(&event)))? {}
            }
            self.drain();
        }
        let Self {
            mut followed, filter, mut report, n_undecodable, mut unwanted, allows_none, ..
        } = self;
        for sampled in followed.rest() {
            if !is_wanted(&filter, &sampled.socket, &report.around) {
                unwanted.add(&sampled.socket, &report.around);
                continue;
            }
            report.add(sampled.judged(&report.around));
        }
        report.sum.events_lost = hooks.counts()?.dropped - self.n_lost_before + n_undecodable;
        report.sum.hooks_skipped = hooks.n_changes_skipped() - self.n_skipped_before;
        report.sum.never_connected = followed.n_never_connected;
        report.sum.command_exit_code = Some(code);
        let is_filter_vain = !allows_none && report.sum.is_nothing_judged();
        if is_filter_vain && has_conditions(&filter) {
            report.sum.nothing_has = Some(unwanted.words());
        }
        Ok(report)
    }
}

/// Connections of the command that the filter leaves out.
#[derive(Debug)]
struct Unwanted {
    n: u64,
    /// How many of them only this condition leaves out.
    parts: Vec<(FilterPart, u64)>,
}

impl Unwanted {
    fn of(filter: &Filter) -> Self {
        let parts = near::parts(filter);
        Self { n: 0, parts: parts.into_iter().map(|part| (part, 0)).collect() }
    }

    fn add(&mut self, socket: &Socket, around: &Surroundings) {
        self.n += 1;
        for (part, n) in &mut self.parts {
            *n += u64::from(is_wanted(&part.without, socket, around));
        }
    }

    /// What the command did otherwise.
    fn words(&self) -> String {
        let mut words = match self.n {
            0 => "the command made none without the filters, either".to_owned(),
            1 => "the command made 1 without the filters".to_owned(),
            n => format!("the command made {n} without the filters"),
        };
        // One condition alone leaves out all of them.
        let several = self.parts.iter().filter(|_| self.parts.len() > 1);
        for (part, n) in several.filter(|(_, n)| *n > 0) {
            words.push_str(&format!(", {n} without {}", part.typed));
        }
        format!("no connection has what the filters ask for, and {words}")
    }
}

/// Whether the filter admits a connection of the command, open or closed.
fn is_wanted(filter: &Filter, socket: &Socket, around: &Surroundings) -> bool {
    filter.admits_in_any_state(socket, around, socket.quiet_ms.into())
        && filter.admits_owner(socket.owner.as_slice())
}
