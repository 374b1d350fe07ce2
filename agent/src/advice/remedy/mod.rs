//! The advice: the line for the client that was recognised, else for what surrounds the process.

use crate::advice::{
    Proposal,
    clients::{Client, How},
    place::RunsIn,
    recognise::{Recognised, values},
};
use crate::model::{
    observed::{
        probe_timing::repeating_ms,
        setting::{OwnValues, TCP_RTO_MAX_MS},
        socket::Direction,
    },
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
    /// Some of the connections live.
    pub is_any_live: bool,
    /// `tcp_retries2` of their network namespace, if it is known.
    pub retries2: Option<u8>,
    /// The kernel itself owns the connections.
    pub is_kernel: bool,
    /// Where the process runs.
    pub around: &'a RunsIn,
    /// The values to set.
    pub proposal: Proposal,
}

/// What to do about connections in this situation, whose owner may be one of `candidates`.
pub(crate) fn advise(situation: &Situation<'_>, candidates: &[Recognised]) -> Vec<Advice> {
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
            Need::PingThroughProxy | Need::PingThePeer => vec![match client.ping {
                Some(ping) => self.of(it, holds, "ping", self.why_ping(), ping),
                None => self.of(it, holds, "ping", self.why_ping(), ANY_PING),
            }],
            Need::UserTimeout => {
                self.user_timeout(it.client.user_timeout.map(|line| (it, line)), holds)
            }
            Need::LongerUserTimeout => vec![self.longer_user_timeout(holds)],
            Need::Keepalive => match client.how {
                How::Line(line) => self.own_line(it, holds, line),
                How::System(switch) => self.by_system(it, holds, switch),
                How::None => vec![self.without_keepalive(it, holds)],
            },
        }
    }

    fn own_line(&self, it: &Recognised, holds: Holds, line: &str) -> Vec<Advice> {
        let client = it.client;
        if self.proposal.idle >= client.least_idle {
            return vec![self.of(it, holds, "runtime", "", line)];
        }
        let note = format!(
            "; it can set no less than {}, which is later than the {} that this path needs",
            duration(client.least_idle),
            duration(self.proposal.idle)
        );
        let mut advice = vec![self.of(it, holds, "runtime", &note, line)];
        advice.extend(
            client
                .ping
                .map(|ping| self.of(it, holds, "ping", "; its own ping can be sooner", ping)),
        );
        advice
    }

    fn by_system(&self, it: &Recognised, holds: Holds, switch: Option<&str>) -> Vec<Advice> {
        let mut advice = Vec::new();
        if let (Some(switch), false) = (switch, self.own.keepalive) {
            let note = "; it only turns keepalive on, the times are the system's";
            advice.push(self.of(it, holds, "runtime", note, switch));
        }
        if let Some(ping) = it.client.ping {
            advice.push(self.of(it, holds, "ping", "", ping));
        }
        if self.own.keepalive || switch.is_some() {
            let because = format!("{}; it leaves the times to the system", named(it, holds));
            advice.push(Advice { client: Some(it.into()), ..self.system(holds, because) });
        }
        if advice.is_empty() {
            advice.push(self.without_keepalive(it, holds));
        }
        advice
    }

    fn without_keepalive(&self, it: &Recognised, holds: Holds) -> Advice {
        let note = if self.own.keepalive {
            "; its keepalive times cannot be changed"
        } else {
            "; it has no option that turns keepalive on"
        };
        match it.client.ping {
            Some(ping) => self.of(it, holds, "ping", note, ping),
            None => self.of(it, holds, "code", note, PRELOAD),
        }
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
            Need::UserTimeout => self.user_timeout(None, holds),
            Need::LongerUserTimeout => vec![self.longer_user_timeout(holds)],
            Need::Keepalive if self.is_kernel => {
                let because =
                    "the kernel itself uses this connection: its mount or device has the options";
                vec![self.plain(holds, "kernel", because.to_owned(), "")]
            }
            // Only values that are left to the system follow it.
            Need::Keepalive if is_on && self.own.idle == 0 => {
                let because = "SO_KEEPALIVE is on, and the times are the system's".to_owned();
                vec![self.system(holds, because)]
            }
            Need::Keepalive => {
                let mut advice = vec![self.code(holds)];
                if let (false, Some(line)) = (is_on, self.around.drop_in()) {
                    let because =
                        "where the program cannot be changed (not for static ones, nor Go)";
                    advice.push(self.plain(holds, "unit", because.to_owned(), &line));
                }
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

    fn user_timeout(&self, of: Option<(&Recognised, &str)>, holds: Holds) -> Vec<Advice> {
        let wanted = self.proposal.detection_seconds();
        let gives_up =
            self.retries2.map(|retries| repeating_ms(retries, TCP_RTO_MAX_MS).div_ceil(1000));
        let set = self.own.user_timeout_ms.div_ceil(1000);
        let kernels = match (self.retries2, gives_up) {
            (Some(retries), Some(after)) => {
                format!("tcp_retries2 ({retries} here: about {})", duration(after))
            }
            _ => "tcp_retries2 (15 by default: about 15 min)".to_owned(),
        };
        if set > 0 && set <= wanted {
            let because = format!(
                "a user timeout of {} is set already: it notices data that nobody answers",
                duration(set)
            );
            return vec![self.plain(holds, "code", because, "")];
        }
        if gives_up.is_some_and(|after| after <= wanted.into()) {
            let because = format!(
                "nothing to set: {kernels} gives up sooner than a user timeout of {} would",
                duration(wanted)
            );
            return vec![self.plain(holds, "code", because, "")];
        }
        let because = format!("with data in flight only this notices sooner than {kernels}");
        vec![match of {
            Some((it, line)) => self.of(it, holds, "runtime", &format!("; {because}"), line),
            None => self.plain(holds, "code", because, USER_TIMEOUT),
        }]
    }

    /// Two probes must be able to get lost.
    fn longer_user_timeout(&self, holds: Holds) -> Advice {
        let least = self.now.idle.saturating_add(self.now.interval.saturating_mul(2));
        let because = format!(
            "the user timeout of {} is not longer than idle + interval ({}): one lost probe ends a healthy connection. \
             Set a longer one, or shorter times between probes",
            duration(self.own.user_timeout_ms.div_ceil(1000)),
            duration(self.now.idle.saturating_add(self.now.interval)),
        );
        let line = USER_TIMEOUT.replace("{timeout_ms}", &format!("{}000", least.saturating_add(1)));
        self.plain(holds, "code", because, &line)
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
        }
    }

    fn plain(&self, holds: Holds, place: &'static str, because: String, line: &str) -> Advice {
        let lines = self.proposal.fill(line).lines().map(str::to_owned).collect();
        Advice { place, holds, because, lines, client: None }
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

    /// A sysctl reaches a connection that lives only when its timer fires, or when it is opened again.
    fn reopen(&self) -> String {
        if self.is_any_live && self.own.keepalive {
            let until = duration(self.now.idle);
            format!(
                "\n# then re-open the connections that live: they keep the old timer for up to {until}"
            )
        } else {
            "\n# connections that are open keep their old timer: re-open them".to_owned()
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
const USER_TIMEOUT: &str = "setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, {timeout_ms})  /* ms */";
const SET_ALL: &str = "setsockopt(FD, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));\n\
    setsockopt(FD, IPPROTO_TCP, TCP_KEEPIDLE, &(int){{idle}}, sizeof(int));\n\
    setsockopt(FD, IPPROTO_TCP, TCP_KEEPINTVL, &(int){{interval}}, sizeof(int));\n\
    setsockopt(FD, IPPROTO_TCP, TCP_KEEPCNT, &(int){{count}}, sizeof(int));";
const PRELOAD: &str = "LD_PRELOAD=libkeepalive.so KEEPIDLE={idle} KEEPINTVL={interval} KEEPCNT={count} PROGRAM ...\n\
    # Debian's package libkeepalive0; not for static programs";

#[cfg(test)]
mod tests;
