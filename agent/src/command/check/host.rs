//! Judging the host's connections as they are now.

use super::{
    CheckArgs, checked_connection::CheckedConnection, has_conditions, output::Output,
    report::Report,
};
use crate::{
    command::{
        Failure, Outcome,
        near::{self, LooksAt},
        source::{ConnectionReader, Kernel},
    },
    config,
    kernel::{clock, hooks::Signal},
    model::{
        judgement::{check_policy::RefusedSetting, verdict::Surroundings},
        observed::socket::Direction,
        table::happening::EventName,
    },
    serve::client,
    view::{
        event_filter::EventFilter,
        event_row::{EventRow, StreamLine},
        filter::Filter,
        value_enum::EventChoice,
    },
};
use std::{collections::BTreeMap, path::Path, time::Duration};
use tracing::warn;

pub(super) fn check(
    args: &CheckArgs,
    socket: &config::SocketArgs,
    limits: &config::LimitArgs,
    colour: bool,
) -> Result<Outcome, Failure> {
    let path = &socket.socket;
    let policy = args.policy.policy(&args.filter)?;
    let wants_calls = policy.want_failed_calls();
    // Nobody needs the rows that no rule judges.
    let outbound = (!policy.judges_inbound()).then_some(Direction::Outbound);
    let wanted = Filter { direction: args.filter.direction.or(outbound), ..args.filter.clone() };
    let output = Output::open(args, colour)?;
    let mut report = Report::new(policy, limits.surroundings());
    let began = clock::now();
    if let Some(status) = args.source.agent(path)? {
        report.sum.source = format!("the agent, process {}", status.pid);
        if wants_calls && !status.carries(Signal::Setsockopt) {
            warn!("the agent is blind to setsockopt: refused settings are not judged");
        }
        let refused = refused_settings(path, &args.filter, &report.around)?;
        // The agent measures with limits that were given to this call.
        let wanted = Filter { measured_by: limits.of_this_call(), ..wanted };
        from_agent(path, &wanted, refused, &mut report)?;
    } else {
        if wants_calls {
            warn!("refused settings are not judged: only an agent remembers them");
        }
        let mut kernel = Kernel::open(args.source, &args.owners, limits)?;
        report.sum.source = kernel.name().to_owned();
        kernel.walk(&wanted, |socket, owners, identity, around| {
            report.add(CheckedConnection::of_socket(socket, owners, identity, around));
            Ok(())
        })?;
        if let Some(hidden) = kernel.hidden().filter(|_| !args.allow_none)
            && report.sum.is_nothing_judged()
        {
            return Err(Failure::Hidden(hidden));
        }
        kernel.say_unseen();
    }
    if !args.allow_none && report.sum.is_nothing_judged() {
        let looks_at = LooksAt { direction: outbound, only_open: true };
        report.sum.nothing_has = what_is_there(args, path, limits, looks_at)?;
    }
    let took = Duration::from_millis(clock::now().ms_since(began));
    let found = report.has_findings();
    let carried = config::CarriedOptions::default().with_socket(socket).with_limits(limits);
    output.host(&report, took, &carried)?;
    Ok(if found { Outcome::Finding } else { Outcome::Fine })
}

/// What is there in place of what the filter asks for, in words; none without a filter.
fn what_is_there(
    args: &CheckArgs,
    path: &Path,
    limits: &config::LimitArgs,
    looks_at: LooksAt,
) -> Result<Option<String>, Failure> {
    if !has_conditions(&args.filter) {
        return Ok(None);
    }
    let mut reader = ConnectionReader::new(args.source, path, limits, &args.owners)?;
    let filter = Filter { measured_by: limits.of_this_call(), ..args.filter.clone() };
    near::instead(&filter, looks_at, |filter, each| reader.each_row(filter, |row| each(&row)))
}

/// Refused settings by connection, with the connection as it was then.
type Refused = BTreeMap<String, CheckedConnection>;

fn from_agent(
    path: &Path,
    filter: &Filter,
    mut refused: Refused,
    report: &mut Report,
) -> Result<(), Failure> {
    client::sockets(path, filter, |row| {
        let settings = refused.remove(row.id()).map(|judged| judged.refused);
        let refused = settings.unwrap_or_default();
        let judged = CheckedConnection::of_row(row);
        report.add(CheckedConnection { refused, ..judged });
        true
    })?;
    // Of connections that are gone, or that the peer opened.
    for judged in refused.into_values() {
        report.add(judged);
    }
    Ok(())
}

/// The refused settings that the agent remembers.
fn refused_settings(
    path: &Path,
    filter: &Filter,
    around: &Surroundings,
) -> Result<Refused, Failure> {
    let wanted = EventFilter {
        event: vec![EventChoice::One(EventName::Setting)],
        past_only: true,
        filter: filter.clone(),
        ..EventFilter::default()
    };
    let mut all = Refused::new();
    client::events(path, &wanted, |line| {
        if let Some(StreamLine::Event(row)) = line
            && let Some(setting) = refused(&row)
            && let Some(id) = row.connection.id.clone()
        {
            all.entry(id)
                .or_insert_with(|| CheckedConnection::of_event(&row, around))
                .refused
                .push(setting);
        }
        true
    })?;
    Ok(all)
}

fn refused(row: &EventRow) -> Option<RefusedSetting> {
    let error = row.details.result.clone().filter(|result| result != "ok")?;
    Some(RefusedSetting { option: row.details.option?, value: row.details.value, error })
}
