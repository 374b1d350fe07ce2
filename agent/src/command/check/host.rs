//! Judging the host's connections as they are now.

use super::{CheckArgs, output::Output, report::Report};
use crate::{
    command::{Failure, Outcome, source::Kernel},
    config,
    kernel::{clock, hooks::Signal},
    model::{
        judgement::check_policy::Subject,
        observed::{
            errno::errno_name,
            owner_identity::Identity,
            setsockopt::{Call, When},
            setting::{NetnsSettings, OwnSettings, SettingOrigin},
            socket::{Comm, Direction, DirectionFrom, Owner, Socket, SocketId, Time},
        },
        table::happening::EventName,
        text::name::bounded,
    },
    serve::client,
    view::{
        event_row::{Connection, EventRow, StreamLine},
        filter::{Filter, Wanted},
        row::{Probes, Row, RowOwner, Seconds},
    },
};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use tracing::warn;

pub(super) fn check(
    args: &CheckArgs,
    path: &Path,
    limits: &config::LimitArgs,
    colour: bool,
) -> Result<Outcome, Failure> {
    let demands = args.policy.demands()?;
    let wants_calls = demands.want_failed_calls();
    let output = Output::open(args, colour)?;
    let mut report = Report::new(demands, limits.surroundings());
    let began = clock::now();
    if let Some(status) = args.source.agent(path)? {
        report.sum.source = format!("the agent, process {}", status.pid);
        let is_carried = |signal: Signal| {
            status.hooks.iter().any(|hook| hook.signal == signal.as_str() && hook.attached)
        };
        if wants_calls && !is_carried(Signal::Setsockopt) {
            warn!("the agent is blind to setsockopt: refused settings are not judged");
        }
        let failed = if wants_calls { failed_calls(path)? } else { BTreeMap::new() };
        from_agent(path, failed, &mut report)?;
    } else {
        report.sum.source = String::from("the kernel");
        if wants_calls {
            warn!("refused settings are not judged: only an agent remembers them");
        }
        let mut kernel = Kernel::open(&args.owners, limits)?;
        kernel.walk(&outbound(), |socket, owners, identity, _| {
            let identity = identity.cloned().map(Arc::new);
            let (failed, owners) = (Vec::new(), owners.to_vec());
            report.add(&Subject { socket: *socket, owners, identity, failed, only_calls: false });
            Ok(())
        })?;
    }
    let took = Duration::from_millis(clock::now().ms_since(began));
    let found = report.has_findings();
    output.host(&report, took)?;
    Ok(if found { Outcome::Finding } else { Outcome::Fine })
}

fn outbound() -> Filter {
    Filter { direction: Some(Direction::Outbound), ..Filter::default() }
}

/// Refused settings by connection, with the connection as it was then.
type Failed = BTreeMap<String, Subject>;

fn from_agent(path: &Path, mut failed: Failed, report: &mut Report) -> Result<(), Failure> {
    client::sockets(path, &outbound(), |row| {
        let calls = failed.remove(&row.id).map(|subject| subject.failed);
        report.add(&Subject { failed: calls.unwrap_or_default(), ..of_row(&row) });
        true
    })?;
    // Of connections that are gone, or that the peer opened.
    for subject in failed.values() {
        report.add(subject);
    }
    Ok(())
}

/// The refused settings that the agent remembers.
fn failed_calls(path: &Path) -> Result<Failed, Failure> {
    let wanted = Wanted { event: vec![EventName::Setting], past_only: true, ..Wanted::default() };
    let mut failed = Failed::new();
    client::events(path, &wanted, |line| {
        if let Some(StreamLine::Event(row)) = line
            && let Some((call, id)) = refused(&row)
        {
            let subject = || Subject { only_calls: true, ..of_connection(&row) };
            failed.entry(id).or_insert_with(subject).failed.push(call);
        }
        true
    })?;
    Ok(failed)
}

fn refused(row: &EventRow) -> Option<(Call, String)> {
    let result = row.details.result.as_deref().filter(|result| *result != "ok")?;
    // The largest error number of Linux, EHWPOISON (include/uapi/asm-generic/errno.h).
    let errno = (1..=133).find(|errno| errno_name(*errno) == result).unwrap_or_default();
    let (value, when) = (row.details.value, row.details.when.unwrap_or(When::AfterConnect));
    let call = Call { option: row.details.option?, value, errno, by: None, when };
    Some((call, row.connection.id.clone()?))
}

/// What a row says of its socket.
fn of_row(row: &Row) -> Subject {
    let Row { local, remote, state, direction, direction_from, netns, keepalive, .. } = *row;
    let Row { idle, interval, count, user_timeout_ms, in_flight, probes_unanswered, .. } = *row;
    let (own, ambient) = settings(idle, interval, count, user_timeout_ms);
    let owners: Vec<Owner> = row.owners.iter().map(owner).collect();
    let name = |name: &Option<String>| name.as_deref().and_then(bounded);
    let identity = Identity {
        unit: name(&row.unit),
        container: name(&row.container),
        namespace: name(&row.namespace),
        workload: name(&row.workload),
        pod: name(&row.pod),
        ..Identity::default()
    };
    let socket = Socket {
        id: row.id.parse().unwrap_or_default(),
        at: Time(0),
        local: local.into(),
        remote: remote.into(),
        netns,
        inode: 0,
        own,
        ambient,
        keepalive,
        state,
        in_flight,
        probes_unanswered,
        direction,
        direction_from,
        owner: owners.first().copied(),
        shared: false,
        quiet_ms: 0,
        silent_ms: 0,
        timer_ms: None,
    };
    let identity = Some(Arc::new(identity));
    Subject { socket, owners, identity, failed: Vec::new(), only_calls: false }
}

/// The same of a line of the stream.
fn of_connection(line: &EventRow) -> Subject {
    let Connection { local, remote, state, direction, netns, keepalive, .. } = line.connection;
    let Connection { idle, interval, count, user_timeout_ms, .. } = line.connection;
    let (own, ambient) = settings(idle, interval, count, user_timeout_ms);
    let owner = line.owner.as_ref().map(owner);
    let id: Option<SocketId> = line.connection.id.as_ref().and_then(|id| id.parse().ok());
    let socket = Socket {
        id: id.unwrap_or_default(),
        at: Time(0),
        local: local.into(),
        remote: remote.into(),
        netns,
        inode: 0,
        own,
        ambient,
        keepalive,
        state,
        in_flight: line.connection.in_flight,
        probes_unanswered: line.connection.probes_unanswered,
        direction: direction.unwrap_or(Direction::Outbound),
        direction_from: DirectionFrom::Inferred,
        owner,
        shared: false,
        quiet_ms: 0,
        silent_ms: 0,
        timer_ms: None,
    };
    let owners = owner.into_iter().collect();
    Subject { socket, owners, identity: None, failed: Vec::new(), only_calls: false }
}

fn settings(
    idle: Seconds,
    interval: Seconds,
    count: Probes,
    user_timeout_ms: u32,
) -> (OwnSettings, NetnsSettings) {
    let own = |value, from| if from == SettingOrigin::Socket { value } else { 0 };
    let probes = u8::try_from(count.probes).unwrap_or(u8::MAX);
    let own = OwnSettings {
        idle_seconds: own(idle.seconds, idle.from),
        interval_seconds: own(interval.seconds, interval.from),
        user_timeout_ms,
        count: if count.from == SettingOrigin::Socket { probes } else { 0 },
    };
    let ambient = NetnsSettings {
        idle_seconds: idle.seconds,
        interval_seconds: interval.seconds,
        count: probes,
    };
    (own, ambient)
}

fn owner(row: &RowOwner) -> Owner {
    let mut name = [0; 16];
    // The last byte stays 0, as the kernel has it.
    for (to, from) in name.iter_mut().zip(row.process.bytes().take(15)) {
        *to = from;
    }
    Owner { pid: row.pid, fd: row.fd, comm: Comm::new(name) }
}
