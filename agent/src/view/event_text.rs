//! The meaning of an event, in one sentence.

use crate::model::{
    judgement::verdict::{Surroundings, Verdict},
    observed::{
        errno::errno_name,
        event::Fire,
        setsockopt::{Call, SockOpt},
        socket::{Owner, Socket, State},
    },
    table::happening::{Happened, Happening},
    text::{
        count::counted,
        duration::{duration, tenths},
    },
};

/// The meaning of a happening, in one sentence.
pub(crate) fn meaning(happening: &Happening, around: &Surroundings) -> String {
    let Happening { socket, what, .. } = happening;
    match what {
        Happened::Opened => match around.verdict(socket) {
            Verdict::Local => "opened to this host".to_owned(),
            Verdict::Off => "opened, keepalive is off".to_owned(),
            verdict => format!(
                "opened {}: first probe after {}, noticed dead after {}",
                verdict.as_str(),
                duration(socket.idle().value),
                socket.detection_at_most_seconds().map(duration).unwrap_or_default(),
            ),
        },
        Happened::Setting(call) => {
            let holder = happening.holder.as_ref().filter(|it| it.is_foreign).map(|it| it.owner);
            let on = holder.map_or_else(String::new, |Owner { pid, comm, .. }| {
                format!(", on a connection of {}[{pid}]", comm.escaped())
            });
            format!("{}{on}", setting(call, socket))
        }
        Happened::Changed { option, from, to } => format!(
            "{} went from {} to {} without a setsockopt call (io_uring, a 32-bit program, BPF or \
             the kernel itself)",
            option.as_str(),
            own_value(*option, *from),
            own_value(*option, *to)
        ),
        Happened::ProbeSent => {
            let n_probes = socket.probes_unanswered;
            let next = socket.timer_ms.map(tenths).unwrap_or_default();
            let silent = tenths(socket.silent_ms);
            if socket.own.user_timeout_ms > 0 {
                let limit = socket.own.user_timeout_ms;
                format!(
                    "probe {n_probes} after {silent} of silence, next in {next}, until {limit} ms have passed"
                )
            } else {
                let count = socket.count().value;
                format!("probe {n_probes} of {count} after {silent} of silence, next in {next}")
            }
        }
        Happened::ProbeAnswered { unanswered: 1 } => {
            "the probe was answered: the peer lives".into()
        }
        Happened::ProbeAnswered { unanswered } => {
            format!("answered after {unanswered} probes: the peer lives")
        }
        Happened::TimerFired(outcome) => fired(*outcome).to_owned(),
        Happened::QuietSurvived { quiet_ms } => {
            format!("went on after {} of quiet", duration(quiet_ms / 1000))
        }
        Happened::DataAnswered { unanswered_ms } => {
            format!("answered after up to {} without an answer", tenths(*unanswered_ms))
        }
        Happened::VerdictChanged { from, to } => {
            format!("was {}, is {}: {}", from.as_str(), to.as_str(), around.reason(socket))
        }
        Happened::GivenUp => given_up(socket),
        Happened::Died(death) => format!("{}: {}", death.cause.as_str(), death.evidence(socket)),
    }
}

fn given_up(socket: &Socket) -> String {
    let silent = tenths(socket.silent_ms);
    let unanswered = match (socket.retransmits, socket.probes_missed()) {
        (0, 0) => String::new(),
        (0, n) => format!(", {} unanswered", counted(n, "probe")),
        (n, _) => {
            let since = socket.retransmitting_ms;
            let since = since.map_or_else(String::new, |ms| format!(" for {}", tenths(ms)));
            let repeated = counted(n, "retransmission");
            format!(", its data unanswered{since}, {repeated}")
        }
    };
    format!("closed by this host after {silent} of silence{unanswered}")
}

fn setting(call: &Call, socket: &Socket) -> String {
    let option = call.option.as_str();
    let value = call.value.map_or_else(|| "?".to_owned(), |value| value.to_string());
    let asked = format!("{option} = {value}{}", call.option.unit());
    if call.errno != 0 {
        return format!("{asked} was refused with {}: nothing changed", errno_name(call.errno));
    }
    let note = match (call.option, socket.keepalive, socket.state) {
        (_, _, State::Listen) => ": what it accepts inherits it",
        (SockOpt::Idle | SockOpt::Interval | SockOpt::Count, false, _) => {
            ", without effect while SO_KEEPALIVE is off"
        }
        (SockOpt::Count, true, _) if socket.own.user_timeout_ms > 0 => {
            ", without effect: the user timeout decides"
        }
        _ => "",
    };
    format!("{asked}{note}")
}

fn own_value(option: SockOpt, value: u32) -> String {
    match (option, value) {
        (SockOpt::Keepalive, 0) => "off".to_owned(),
        (SockOpt::Keepalive, _) => "on".to_owned(),
        (_, 0) => "unset".to_owned(),
        _ => format!("{value}{}", option.unit()),
    }
}

const fn fired(outcome: Fire) -> &'static str {
    match outcome {
        Fire::Sent => "a probe was sent",
        Fire::Deferred => "the program was working on the socket: the timer tries again in 50 ms",
        Fire::DataInFlight => {
            "data is in flight: no probe, retransmission decides; the timer starts over"
        }
        Fire::NotIdle => "something was received meanwhile: no probe is due",
        Fire::NotOurs => "not keepalive's: it is off, or the socket is closing",
        Fire::Congested => "this host's own queue refused the probe: next try in 500 ms",
        Fire::Death => "too many probes went unanswered",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::life::tests_support::app;

    #[test]
    fn what_this_host_closed_unanswered_says_what_was_without_an_answer() {
        let closed = Socket { silent_ms: 20_000, ..app(1, Some(10), 20_000) };
        let probed = |probes_unanswered| given_up(&Socket { probes_unanswered, ..closed });
        let head = "closed by this host after 20 s of silence";
        assert_eq!(probed(0), head);
        assert_eq!(probed(1), format!("{head}, 1 probe unanswered"));
        assert_eq!(probed(2), format!("{head}, 2 probes unanswered"));
        let sent = |retransmits, retransmitting_ms| {
            given_up(&Socket { retransmits, retransmitting_ms, ..closed })
        };
        let once = sent(1, Some(3_000));
        assert_eq!(once, format!("{head}, its data unanswered for 3.0 s, 1 retransmission"));
        // Before 5.11 no time is known.
        assert_eq!(sent(4, None), format!("{head}, its data unanswered, 4 retransmissions"));
    }
}
