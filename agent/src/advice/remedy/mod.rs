//! The advice: the line for the client that was recognised, else for what surrounds the process.

mod user_timeout;

use crate::advice::{
    Proposal,
    clients::{Client, How},
    place::RunsIn,
    recognise::{Recognised, values},
};
use crate::model::{
    observed::{setting::OwnValues, socket::Direction},
    text::duration::duration,
};
use serde::Serialize;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Advice {
    /// Where: `runtime`, `ping`, `sysctl`, `pod`, `container`, `unit`, `code`, `kernel`.
    pub place: &'static str,
    /// Whether it holds in any case.
    pub holds: Holds,
    /// Why here, in words.
    #[serde(rename = "meaning")]
    pub because: String,
    /// What to write, line by line.
    pub lines: Vec<String>,
    /// The client or server that it is for; null if none was recognised.
    pub client: Option<AdvisedClient>,
    /// It helps only together with the advice before it, and that only together with this.
    pub needs_previous: bool,
}

/// When advice holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Holds {
    /// In any case.
    Surely,
    /// If the guess is right.
    IfItIs,
    /// If no guess before it is right.
    Else,
}

/// The client or server that advice is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AdvisedClient {
    /// Its name.
    pub name: &'static str,
    /// The versions that were looked at.
    pub versions: &'static str,
    /// Programs and libraries that are built on it.
    pub used_by: &'static [&'static str],
    /// False for a guess.
    #[serde(rename = "sure")]
    pub is_sure: bool,
}

/// What is wrong, as far as advice goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Keepalive is off, or late.
    Keepalive,
    /// Probes do not count on this path: a proxy counts bytes.
    PingThroughProxy,
    /// Probes are answered, and the peer closed the connection all the same.
    PingThePeer,
    /// Data in flight met silence.
    UserTimeout,
    /// The user timeout ends a connection before a second probe is sent.
    LongerUserTimeout,
}

/// All that advice depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    /// What is wrong.
    pub need: Need,
    /// The end that opened the connections.
    pub direction: Direction,
    /// What was set on the sockets.
    pub own: &'a OwnValues,
    /// What the kernel uses: own values, or the system's.
    pub now: Proposal,
    /// When the last timer of those that live fires, seconds; none if one is not known, as while data is in flight, and if none lives.
    pub old_timer: Option<u32>,
    /// Seconds until the kernel gives up data that nobody answers, where no user timeout is set; if that is known.
    pub kernel_gives_up: Option<u64>,
    /// The kernel itself owns the connections.
    pub is_kernel: bool,
    /// Where the process runs.
    pub around: &'a RunsIn,
    /// The values to set.
    pub proposal: Proposal,
}

/// What to do about connections in this situation, whose owner may be one of `candidates`.
pub(crate) fn advise(situation: &Situation<'_>, candidates: &[Recognised]) -> Vec<Advice> {
    if let Some(nothing) = situation.notices_already() {
        return vec![nothing];
    }
    let mut advice = Vec::new();
    for candidate in candidates {
        let is_last_resort = candidate.is_sure && candidates.len() > 1;
        let holds = match (candidate.is_sure, is_last_resort) {
            (false, _) => Holds::IfItIs,
            (true, true) => Holds::Else,
            (true, false) => Holds::Surely,
        };
        advice.extend(situation.for_client(candidate, holds));
    }
    if candidates.iter().all(|it| !it.is_sure) {
        let holds = if candidates.is_empty() { Holds::Surely } else { Holds::Else };
        advice.extend(situation.for_unknown(holds));
    }
    advice
}

impl Situation<'_> {
    fn for_client(&self, it: &Recognised, holds: Holds) -> Vec<Advice> {
        let client = it.client;
        match self.need {
            Need::PingThroughProxy | Need::PingThePeer => {
                let line = client.ping.or(client.patience).unwrap_or(ANY_PING);
                vec![self.of(it, holds, "ping", self.why_ping(), line)]
            }
            Need::UserTimeout => vec![self.user_timeout(Some(it), holds)],
            Need::LongerUserTimeout => vec![self.longer_user_timeout(Some(it), holds)],
            Need::Keepalive => {
                let (times, mut advice) = match client.how {
                    How::Line(line) => {
                        (self.proposal.at_least(client.least_idle), self.own_line(it, holds, line))
                    }
                    How::System(switch) => (self.proposal, self.by_system(it, holds, switch)),
                    How::None => (self.proposal, vec![self.without_keepalive(it, holds)]),
                };
                // A ping is data, and its answer too: nothing is unanswered that a single packet could end.
                if advice.iter().any(|it| it.place != "ping") {
                    advice.extend(self.user_timeout_beside(times, Some(it), holds));
                }
                advice
            }
        }
    }

    fn own_line(&self, it: &Recognised, holds: Holds, line: &str) -> Vec<Advice> {
        let client = it.client;
        if self.proposal.idle >= client.least_idle {
            let line = self.of(it, holds, "runtime", "", line);
            return [line].into_iter().chain(self.interval(it, holds)).collect();
        }
        let note = format!(
            "; it can set no less than {}, which is later than the {} that this path needs",
            duration(client.least_idle),
            duration(self.proposal.idle)
        );
        let ping = self.ping(it, holds, "; its own line cannot be as soon as this path needs");
        ping.into_iter().chain([self.of(it, holds, "runtime", &note, line)]).collect()
    }

    /// The system's interval, where the line leaves it and it is too long: after each probe the kernel waits for it, answered
    /// or not.
    fn interval(&self, it: &Recognised, holds: Holds) -> Option<Advice> {
        if !it.client.leaves_interval || self.now.interval <= self.proposal.idle {
            return None;
        }
        let because = format!(
            "{} leaves the time between two probes to the system: {} here. Set both",
            it.client.name,
            duration(self.now.interval)
        );
        Some(Advice {
            client: Some(it.into()),
            needs_previous: true,
            ..self.system(holds, because)
        })
    }

    /// Its own ping, if that can be as soon as this path needs.
    fn ping(&self, it: &Recognised, holds: Holds, note: &str) -> Option<Advice> {
        let ping = it.client.ping.filter(|_| self.proposal.idle >= it.client.least_ping)?;
        Some(self.of(it, holds, "ping", note, ping))
    }

    fn by_system(&self, it: &Recognised, holds: Holds, switch: Option<&str>) -> Vec<Advice> {
        let ping = self.ping(it, holds, "");
        let advice: Vec<Advice> = match switch {
            _ if self.own.keepalive => {
                let times = if self.follows_the_system() {
                    let because =
                        format!("{}; it leaves the times to the system", named(it, holds));
                    self.system(holds, because)
                } else if self.is_capped_by(it.client) {
                    let because = format!(
                        "{}; it sets {} itself only because the system's times are longer, and leaves shorter ones",
                        named(it, holds),
                        values(self.own)
                    );
                    self.system(holds, because)
                } else {
                    let code = self.code(holds);
                    Advice { because: format!("{}; {}", named(it, holds), code.because), ..code }
                };
                let times = Advice { client: Some(it.into()), ..times };
                ping.into_iter().chain([times]).collect()
            }
            Some(switch) => {
                self.switch_and_times(it, holds, switch).into_iter().chain(ping).collect()
            }
            None => ping.into_iter().collect(),
        };
        if advice.is_empty() { vec![self.without_keepalive(it, holds)] } else { advice }
    }

    /// Whether a sysctl reaches what comes too late: only values that are left to the system follow it.
    const fn follows_the_system(&self) -> bool {
        self.own.idle == 0 && self.own.interval <= self.proposal.idle
    }

    /// Whether the times of the socket are those that this client sets where the system's are longer.
    const fn is_capped_by(&self, client: &Client) -> bool {
        let OwnValues { idle, interval, .. } = client.default;
        idle > 0
            && (self.own.idle == 0 || self.own.idle == idle)
            && (self.own.interval == 0 || self.own.interval == interval)
    }

    /// What only turns keepalive on, and the system's times: one without the other does not protect.
    fn switch_and_times(&self, it: &Recognised, holds: Holds, switch: &str) -> Vec<Advice> {
        let is_in_time =
            self.now.idle <= self.proposal.idle && self.now.interval <= self.proposal.idle;
        if is_in_time {
            let note = format!(
                "; it only turns keepalive on, and the system's times are short enough: {} and {}",
                duration(self.now.idle),
                duration(self.now.interval)
            );
            return vec![self.of(it, holds, "runtime", &note, switch)];
        }
        let note =
            "; it only turns keepalive on: without the system's times below it comes too late";
        let because = format!("{} leaves the times to the system: set both", it.client.name);
        let times =
            Advice { client: Some(it.into()), needs_previous: true, ..self.system(holds, because) };
        vec![self.of(it, holds, "runtime", note, switch), times]
    }

    fn without_keepalive(&self, it: &Recognised, holds: Holds) -> Advice {
        let note = if self.own.keepalive {
            "; its keepalive times cannot be changed"
        } else {
            "; it has no option that turns keepalive on"
        };
        self.ping(it, holds, note).unwrap_or_else(|| self.of(it, holds, "code", note, PRELOAD))
    }

    fn for_unknown(&self, holds: Holds) -> Vec<Advice> {
        let is_on = self.own.keepalive;
        match self.need {
            Need::PingThroughProxy | Need::PingThePeer => {
                vec![self.plain(
                    holds,
                    "ping",
                    self.why_ping().trim_start_matches("; ").to_owned(),
                    ANY_PING,
                )]
            }
            Need::UserTimeout => vec![self.user_timeout(None, holds)],
            Need::LongerUserTimeout => vec![self.longer_user_timeout(None, holds)],
            Need::Keepalive if self.is_kernel => {
                let because =
                    "the kernel itself uses this connection: its mount or device has the options";
                vec![self.plain(holds, "kernel", because.to_owned(), "")]
            }
            Need::Keepalive if is_on && self.follows_the_system() => {
                let because = "SO_KEEPALIVE is on, and the times are the system's".to_owned();
                let longer = self.user_timeout_beside(self.proposal, None, holds);
                [self.system(holds, because)].into_iter().chain(longer).collect()
            }
            Need::Keepalive => {
                let mut advice = vec![self.code(holds)];
                if let (false, Some(line)) = (is_on, self.around.drop_in()) {
                    let because =
                        "where the program cannot be changed (not for static ones, nor Go)";
                    advice.push(self.plain(holds, "unit", because.to_owned(), &line));
                }
                advice.extend(self.user_timeout_beside(self.proposal, None, holds));
                advice
            }
        }
    }

    const fn why_ping(&self) -> &'static str {
        match self.need {
            Need::PingThePeer => {
                "; TCP keepalive does not reach the idle timeout of the peer or of a proxy"
            }
            _ => "; keepalive cannot protect here: a proxy counts bytes only",
        }
    }

    /// A line of a client.
    fn of(
        &self,
        it: &Recognised,
        holds: Holds,
        place: &'static str,
        note: &str,
        line: &str,
    ) -> Advice {
        let proposal =
            self.proposal.at_least(if place == "runtime" { it.client.least_idle } else { 1 });
        Advice {
            place,
            holds,
            because: format!("{}{note}", named(it, holds)),
            lines: proposal.fill(line).lines().map(str::to_owned).collect(),
            client: Some(it.into()),
            needs_previous: false,
        }
    }

    fn plain(&self, holds: Holds, place: &'static str, because: String, line: &str) -> Advice {
        let lines = self.proposal.fill(line).lines().map(str::to_owned).collect();
        Advice { place, holds, because, lines, client: None, needs_previous: false }
    }

    fn code(&self, holds: Holds) -> Advice {
        let because = match (self.own.keepalive, self.direction) {
            (true, _) => format!("the program itself sets {}: it must set less", values(self.own)),
            (false, Direction::Outbound) => {
                "no runtime was recognised; no sysctl turns keepalive on, the program must"
                    .to_owned()
            }
            (false, Direction::Inbound) => {
                "no runtime was recognised; no sysctl turns keepalive on, the program must, \
                 on its listening socket: what that accepts inherits it"
                    .to_owned()
            }
        };
        let fd = match self.direction {
            Direction::Outbound => "fd",
            Direction::Inbound => "listener",
        };
        self.plain(holds, "code", because, &SET_ALL.replace("FD", fd))
    }

    /// The system's times, where this process takes them from.
    fn system(&self, holds: Holds, because: String) -> Advice {
        let (place, line) = self.around.sysctls(&self.reopen());
        self.plain(holds, place, because, &line)
    }

    /// A sysctl reaches a connection that lives only when its timer fires, or when it is opened again; never the times that were
    /// set on its socket.
    fn reopen(&self) -> String {
        if self.own.keepalive && (self.own.idle > 0 || self.own.interval > 0) {
            return "\n# connections that are open keep the times that they have of their own: re-open them"
                .to_owned();
        }
        match self.old_timer.filter(|_| self.own.keepalive).map(duration) {
            Some(until) => format!(
                "\n# then re-open the connections that live: they keep the old timer for up to {until}"
            ),
            None => "\n# connections that are open keep their old timer: re-open them".to_owned(),
        }
    }
}

impl From<&Recognised> for AdvisedClient {
    fn from(it: &Recognised) -> Self {
        let Client { name, versions, used_by, .. } = *it.client;
        Self { name, versions, used_by, is_sure: it.is_sure }
    }
}

/// What is taken for the client, and why.
fn named(it: &Recognised, holds: Holds) -> String {
    let name = it.client.name;
    let part_of = it.part_of.map(|part| part.trim_matches(['/', '.'])).filter(|part| *part != name);
    let as_in = part_of.map(|part| format!(" (as in {part})")).unwrap_or_default();
    let because = it.because.join(", ");
    match holds {
        Holds::Surely => format!("this is {name}{as_in}: {because}"),
        Holds::IfItIs => format!("if this is {name}{as_in}, a guess ({because})"),
        Holds::Else => format!("{name}{as_in}: {because}"),
    }
}

const ANY_PING: &str = "send something of your protocol at least every {idle} s while idle,\n\
    or raise the idle timeout of the proxy or server";
const SET_ALL: &str = "setsockopt(FD, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));\n\
    setsockopt(FD, IPPROTO_TCP, TCP_KEEPIDLE, &(int){{idle}}, sizeof(int));\n\
    setsockopt(FD, IPPROTO_TCP, TCP_KEEPINTVL, &(int){{interval}}, sizeof(int));\n\
    setsockopt(FD, IPPROTO_TCP, TCP_KEEPCNT, &(int){{count}}, sizeof(int));";
const PRELOAD: &str = "LD_PRELOAD=libkeepalive.so KEEPIDLE={idle} KEEPINTVL={interval} KEEPCNT={count} PROGRAM ...\n\
    # Debian's package libkeepalive0; not for static programs";

#[cfg(test)]
mod tests;
