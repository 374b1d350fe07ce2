//! The advice: the line for the client that was recognised, else for what surrounds the process.

use super::{
    Proposal,
    clients::{Client, How},
    recognise::{Recognised, values},
    retransmission,
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
    pub is_sure: bool,
}

/// Where a process runs: its unit, pod, container and network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunsIn {
    /// The systemd unit of the process.
    pub unit: Option<String>,
    /// The Kubernetes pod of the process.
    pub pod: Option<String>,
    /// The container of the process.
    pub container: Option<String>,
    /// Its network namespace, if that is not the host's.
    pub foreign_netns: Option<ForeignNetns>,
}

/// A network namespace that is not the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForeignNetns {
    /// A process in it, if one lives: what `nsenter` enters it by.
    pub pid: Option<u32>,
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
        if let Some(ping) = it.client.ping {
            advice.push(self.of(it, holds, "ping", "", ping));
        }
        if let (Some(switch), false) = (switch, self.own.keepalive) {
            let note = "; it only turns keepalive on, the times are the system's";
            advice.push(self.of(it, holds, "runtime", note, switch));
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
                if let (false, Some(unit)) = (is_on, &self.around.unit) {
                    advice.push(Advice { holds, ..unit_drop_in(unit, self.proposal) });
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
        let gives_up = self.retries2.map(retransmission::gives_up_after_seconds);
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
        if gives_up.is_some_and(|after| after <= wanted) {
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
        const SYSCTL: &str = "sysctl -w net.ipv4.tcp_keepalive_time={idle} \\\n  \
                              net.ipv4.tcp_keepalive_intvl={interval} \
                              net.ipv4.tcp_keepalive_probes={count}";
        let (place, line) = match (
            &self.around.pod,
            &self.around.container,
            self.around.foreign_netns,
        ) {
            (Some(_), ..) => (
                "pod",
                "spec:   # safe sysctls since Kubernetes 1.29; the node's do not reach a pod\n  \
                 securityContext:\n    sysctls:\n    \
                 - {name: net.ipv4.tcp_keepalive_time, value: \"{idle}\"}\n    \
                 - {name: net.ipv4.tcp_keepalive_intvl, value: \"{interval}\"}\n    \
                 - {name: net.ipv4.tcp_keepalive_probes, value: \"{count}\"}"
                    .to_owned(),
            ),
            (None, Some(_), Some(_)) => (
                "container",
                "docker run --sysctl net.ipv4.tcp_keepalive_time={idle} \\\n  \
                 --sysctl net.ipv4.tcp_keepalive_intvl={interval} \\\n  \
                 --sysctl net.ipv4.tcp_keepalive_probes={count} ...\n\
                 # or in compose: sysctls: {net.ipv4.tcp_keepalive_time: {idle}, ...}"
                    .to_owned(),
            ),
            (None, _, Some(ForeignNetns { pid: Some(pid) })) => (
                "sysctl",
                format!(
                    "nsenter -t {pid} -n {SYSCTL}\n# it has a network namespace of its own{}",
                    self.reopen()
                ),
            ),
            (None, _, Some(ForeignNetns { pid: None })) => (
                "sysctl",
                format!(
                    "# in its network namespace, which is not the host's:\n{SYSCTL}{}",
                    self.reopen()
                ),
            ),
            _ => (
                "sysctl",
                format!("{SYSCTL}\n# to stay: the same lines in /etc/sysctl.d/{}", self.reopen()),
            ),
        };
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

/// Debian's package libkeepalive0 puts the calls before those of a program that cannot be changed.
fn unit_drop_in(unit: &str, proposal: Proposal) -> Advice {
    let line = "[Service]   # systemctl edit UNIT; the library: libkeepalive\n\
                Environment=LD_PRELOAD=libkeepalive.so\n\
                Environment=KEEPIDLE={idle} KEEPINTVL={interval} KEEPCNT={count}";
    Advice {
        place: "unit",
        holds: Holds::Surely,
        because: "where the program cannot be changed (not for static ones, nor Go)".to_owned(),
        lines: proposal.fill(line).replace("UNIT", unit).lines().map(str::to_owned).collect(),
        client: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        advice::{
            clients::{self, OFF, ON, on},
            process_clues::Traces,
            recognise::{Look, recognise},
        },
        model::observed::socket::Direction,
    };

    const SYSTEM: Proposal = Proposal { idle: 7200, interval: 75, count: 9 };

    fn situation<'a>(need: Need, own: &'a OwnValues, around: &'a RunsIn) -> Situation<'a> {
        let or = |own: u32, system: u32| if own == 0 { system } else { own };
        let now = Proposal {
            idle: or(own.idle, SYSTEM.idle),
            interval: or(own.interval, SYSTEM.interval),
            count: or(own.count, SYSTEM.count),
        };
        Situation {
            need,
            direction: Direction::Outbound,
            own,
            now,
            is_any_live: true,
            retries2: None,
            is_kernel: false,
            around,
            proposal: Proposal::USUAL,
        }
    }

    fn look(process: &str, port: u16, own: OwnValues) -> Look {
        let traces = Traces::of_name(process);
        Look { traces, port, direction: Direction::Outbound, own, refused: Vec::new() }
    }

    fn text(advice: &[Advice]) -> String {
        let told = advice
            .iter()
            .map(|it| format!("[{}] {}\n{}", it.place, it.because, it.lines.join("\n")));
        told.collect::<Vec<_>>().join("\n")
    }

    fn told(need: Need, own: OwnValues, process: &str, port: u16, around: &RunsIn) -> String {
        text(&advise(&situation(need, &own, around), &recognise(&look(process, port, own))))
    }

    #[test]
    fn a_recognised_client_is_told_its_own_line() {
        let around = RunsIn::default();
        let psql = told(Need::Keepalive, ON, "psql", 5432, &around);
        assert!(
            psql.contains("this is libpq (as in psql)") && psql.contains("keepalives_idle=60"),
            "{psql}"
        );
        let node = told(Need::Keepalive, OFF, "node", 9999, &around);
        assert!(node.contains("socket.setKeepAlive(true, 60000)"), "{node}");
    }

    #[test]
    fn what_leaves_the_times_to_the_system_is_told_where_the_system_is() {
        let host = told(Need::Keepalive, ON, "myapp", 1, &RunsIn::default());
        assert!(host.starts_with("[sysctl]") && host.contains("tcp_keepalive_time=60"), "{host}");
        let foreign =
            RunsIn { foreign_netns: Some(ForeignNetns { pid: Some(812) }), ..RunsIn::default() };
        assert!(
            told(Need::Keepalive, ON, "myapp", 1, &foreign).contains("nsenter -t 812 -n sysctl")
        );
        let pod = RunsIn { pod: Some("web-0".to_owned()), ..foreign.clone() };
        assert!(told(Need::Keepalive, ON, "myapp", 1, &pod).contains("securityContext"));
        let container = RunsIn { container: Some("web".to_owned()), ..foreign };
        assert!(told(Need::Keepalive, ON, "myapp", 1, &container).contains("docker run --sysctl"));
    }

    #[test]
    fn no_sysctl_is_advised_where_none_helps() {
        let unit = RunsIn { unit: Some("app.service".to_owned()), ..RunsIn::default() };
        let off = told(Need::Keepalive, OFF, "myapp", 1, &unit);
        assert!(!off.contains("sysctl -w") && off.contains("SO_KEEPALIVE, &(int){1}"), "{off}");
        assert!(off.contains("TCP_KEEPIDLE, &(int){60}"), "{off}");
        assert!(off.contains("systemctl edit app.service") && off.contains("KEEPIDLE=60"), "{off}");
        let too_late = told(Need::Keepalive, OwnValues { idle: 600, ..ON }, "myapp", 1, &unit);
        assert!(!too_late.contains("sysctl -w") && too_late.contains("600/-/-"), "{too_late}");
    }

    #[test]
    fn behind_a_proxy_a_ping_of_the_protocol_is_advised() {
        let ssh = told(Need::PingThroughProxy, ON, "ssh", 22, &RunsIn::default());
        assert!(ssh.contains("ServerAliveInterval 60") && !ssh.contains("sysctl"), "{ssh}");
        let unknown = told(Need::PingThroughProxy, ON, "myapp", 1, &RunsIn::default());
        assert!(unknown.contains("at least every 60 s"), "{unknown}");
    }

    #[test]
    fn a_guess_says_so_and_what_holds_if_it_is_wrong() {
        let own = OFF;
        let around = RunsIn::default();
        let candidates = recognise(&look("java", 6379, own));
        let advice = advise(&situation(Need::Keepalive, &own, &around), &candidates);
        let holds: Vec<_> = advice.iter().map(|it| it.holds).collect();
        assert_eq!(holds, [Holds::IfItIs, Holds::Else], "{advice:?}");
        assert!(
            advice[0].because.starts_with("if this is Lettuce before 7, a guess"),
            "{advice:?}"
        );
        assert!(advice[1].lines[0].contains("setKeepAlive(true)"), "{advice:?}");
        // Values alone, of an unknown program.
        let own = OwnValues { idle: 900, interval: 5, count: 3, ..ON };
        let unsure = told(Need::Keepalive, OwnValues { idle: 30, ..own }, "myapp", 9999, &around);
        assert!(unsure.starts_with("[runtime] if this is redis-py or go-redis"), "{unsure}");
        assert!(unsure.contains("the program itself sets 30/5/3"), "{unsure}");
    }

    #[test]
    fn a_sysctl_comes_with_what_connections_that_live_need() {
        let around = RunsIn::default();
        let told = told(Need::Keepalive, ON, "myapp", 1, &around);
        assert!(
            told.contains(
                "re-open the connections that live: they keep the old timer for up to 2 h"
            ),
            "{told}"
        );
        let dead = Situation { is_any_live: false, ..situation(Need::Keepalive, &ON, &around) };
        let dead = text(&advise(&dead, &[]));
        assert!(dead.contains("re-open them") && !dead.contains("2 h"), "{dead}");
    }

    #[test]
    fn ssh_is_told_its_own_ping_first() {
        for own in [ON, OFF] {
            let ssh = told(Need::Keepalive, own, "ssh", 22, &RunsIn::default());
            assert!(ssh.starts_with("[ping] this is the OpenSSH client"), "{ssh}");
            assert!(ssh.contains("ServerAliveInterval 60") && ssh.contains("sysctl"), "{ssh}");
        }
    }

    #[test]
    fn a_user_timeout_is_advised_only_where_it_notices_sooner() {
        let around = RunsIn::default();
        let own = on(2, 1, 3);
        let of = |retries2, own: &OwnValues| {
            let situation = Situation { retries2, ..situation(Need::UserTimeout, own, &around) };
            text(&advise(&situation, &[]))
        };
        let usual = of(Some(15), &own);
        assert!(
            usual.contains("TCP_USER_TIMEOUT, 90000") && usual.contains("15 here: about 15 min"),
            "{usual}"
        );
        assert!(!usual.contains("TCP_KEEPIDLE"), "{usual}");
        assert!(of(None, &own).contains("15 by default"), "not known");
        // As Azure advises for clients of Redis.
        let few = of(Some(5), &own);
        assert!(
            few.contains("nothing to set")
                && few.contains("5 here: about 13 s")
                && !few.contains("90000"),
            "{few}"
        );
        let set = of(Some(15), &OwnValues { user_timeout_ms: 15_000, ..own });
        assert!(
            set.contains("a user timeout of 15 s is set already") && !set.contains("setsockopt"),
            "{set}"
        );
    }

    #[test]
    fn a_user_timeout_that_one_lost_probe_reaches_is_to_be_longer() {
        let own = OwnValues { user_timeout_ms: 10_000, ..on(5, 5, 3) };
        let told = told(Need::LongerUserTimeout, own, "myapp", 1, &RunsIn::default());
        assert!(told.contains("one lost probe ends a healthy connection"), "{told}");
        assert!(told.contains("TCP_USER_TIMEOUT, 16000"), "two probes may get lost: {told}");
    }

    #[test]
    fn a_line_that_cannot_be_early_enough_says_so() {
        let own = OFF;
        let around = RunsIn::default();
        let mut process = look("python3", 1521, own);
        process.traces.mapped.insert("/v/oracledb/thin_impl.cpython-311.so".to_owned());
        let candidates = recognise(&process);
        let usual = text(&advise(&situation(Need::Keepalive, &own, &around), &candidates));
        assert!(usual.contains("expire_time=1") && !usual.contains("no less than"), "{usual}");
        let short = Situation {
            proposal: Proposal::with_idle(20),
            ..situation(Need::Keepalive, &own, &around)
        };
        let short = text(&advise(&short, &candidates));
        assert!(
            short.contains("no less than 1 min") && short.contains("ping() every 20 s"),
            "{short}"
        );
    }

    #[test]
    fn a_mount_is_told_its_mount_options_and_no_call() {
        let own = OwnValues { user_timeout_ms: 180_000, ..on(60, 60, 3) };
        let around = RunsIn::default();
        let nfs = told(Need::Keepalive, own, "kworker/u8:1", 2049, &around);
        assert!(nfs.contains("timeo=600,retrans=2") && !nfs.contains("setsockopt"), "{nfs}");
        let cifs = told(Need::Keepalive, OFF, "mount.cifs", 445, &around);
        assert!(cifs.contains("echo_interval=60") && !cifs.contains("setsockopt"), "{cifs}");
        let unknown = Situation { is_kernel: true, ..situation(Need::Keepalive, &own, &around) };
        assert!(text(&advise(&unknown, &[])).starts_with("[kernel]"));
        // A program that only speaks to that port.
        let smbclient = told(Need::Keepalive, OFF, "smbclient", 445, &around);
        assert!(!smbclient.contains("echo_interval"), "{smbclient}");
    }

    #[test]
    fn a_server_sets_its_listener() {
        let own = OFF;
        let around = RunsIn::default();
        let inbound = Situation {
            direction: Direction::Inbound,
            ..situation(Need::Keepalive, &own, &around)
        };
        let told = text(&advise(&inbound, &[]));
        assert!(told.contains("setsockopt(listener, IPPROTO_TCP, TCP_KEEPIDLE"), "{told}");
    }

    #[test]
    fn every_client_is_told_something_whatever_is_wrong() {
        let around = RunsIn::default();
        for direction in [Direction::Outbound, Direction::Inbound] {
            for client in clients::of(direction) {
                for own in [OFF, client.default] {
                    for need in [
                        Need::Keepalive,
                        Need::PingThroughProxy,
                        Need::PingThePeer,
                        Need::UserTimeout,
                    ] {
                        let it = Recognised {
                            client,
                            because: Vec::new(),
                            is_sure: true,
                            part_of: None,
                        };
                        let situation = Situation { direction, ..situation(need, &own, &around) };
                        let advice = advise(&situation, &[it]);
                        let has_line = advice.iter().any(|advice| !advice.lines.is_empty());
                        let is_set = own.user_timeout_ms > 0 && need == Need::UserTimeout;
                        assert!(has_line || is_set, "{}: {need:?} {advice:?}", client.name);
                    }
                }
            }
        }
    }
}
