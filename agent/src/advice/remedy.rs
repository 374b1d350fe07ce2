//! The advice: the line for the client that was recognised, else for what surrounds the process.

use super::{
    Proposal,
    clients::How,
    recognise::{Recognised, values},
};
use crate::model::observed::setting::OwnValues;
use serde::Serialize;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Advice {
    /// Where: `runtime`, `ping`, `sysctl`, `pod`, `container`, `unit`, `code`.
    pub place: &'static str,
    /// Why here, in words.
    pub because: String,
    /// What to write, line by line.
    pub lines: Vec<String>,
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
    /// Probes are answered, and the connection is closed all the same: a proxy counts bytes.
    Ping,
    /// Data in flight met silence.
    UserTimeout,
}

/// What to do about connections with these values.
pub(crate) fn advise(
    need: Need,
    own: &OwnValues,
    recognised: Option<&Recognised>,
    around: &RunsIn,
    proposal: Proposal,
) -> Vec<Advice> {
    let mut advice = Vec::new();
    let lines = |line: &str| proposal.fill(line).lines().map(str::to_owned).collect::<Vec<_>>();
    if need == Need::Ping {
        let ping = recognised.and_then(|it| Some((it, it.client.ping?)));
        advice.push(match ping {
            Some((it, ping)) => Advice { place: "ping", because: typical(it), lines: lines(ping) },
            None => Advice {
                place: "ping",
                because: "a proxy counts bytes, not probes".to_owned(),
                lines: lines(
                    "send something of your protocol at least every {idle} s while idle,\n\
                     or raise the idle timeout of the proxy or server",
                ),
            },
        });
        return advice;
    }
    if need == Need::UserTimeout {
        advice.push(Advice {
            place: "code",
            because: "with data in flight only this notices sooner than tcp_retries2 (15 min)"
                .to_owned(),
            lines: lines("setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, {timeout_ms})  /* ms */"),
        });
    }
    let is_on = own.keepalive;
    match recognised.map(|it| (it, it.client.how)) {
        Some((it, How::Line(line))) => {
            advice.push(Advice { place: "runtime", because: typical(it), lines: lines(line) });
        }
        Some((it, How::System(switch))) => {
            if let (Some(switch), false) = (switch, is_on) {
                advice.push(Advice {
                    place: "runtime",
                    because: format!(
                        "{}; it only turns keepalive on, the times are the system's:",
                        typical(it)
                    ),
                    lines: lines(switch),
                });
            }
            if is_on || switch.is_some() {
                let because = format!("{}; it leaves the times to the system", typical(it));
                advice.push(system(around, proposal, because));
            } else if let Some(ping) = it.client.ping {
                advice.push(Advice { place: "ping", because: typical(it), lines: lines(ping) });
            }
        }
        Some((it, How::None)) => {
            let because = format!("{}; it has no way to turn keepalive on", typical(it));
            advice.push(Advice {
                place: "ping",
                because,
                lines: it.client.ping.map(lines).unwrap_or_default(),
            });
        }
        // Only values that are left to the system follow it.
        None if is_on && own.idle == 0 => {
            let because = "SO_KEEPALIVE is on, and the times are the system's".to_owned();
            advice.push(system(around, proposal, because));
        }
        None => {
            advice.push(code(is_on, own, proposal));
            if let (false, Some(unit)) = (is_on, &around.unit) {
                advice.push(unit_drop_in(unit, proposal));
            }
        }
    }
    advice
}

fn typical(it: &Recognised) -> String {
    let versions = match it.client.versions {
        "" => String::new(),
        versions => format!(" ({versions})"),
    };
    format!("typical of {}{versions}: {}", it.client.name, it.because.join(", "))
}

fn code(is_on: bool, own: &OwnValues, proposal: Proposal) -> Advice {
    let because = if is_on {
        format!("the program itself sets {}: it must set less", values(own))
    } else {
        "no runtime was recognised; no sysctl turns keepalive on, the program must".to_owned()
    };
    let line = "setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));\n\
                setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){{idle}}, sizeof(int));\n\
                setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){{interval}}, sizeof(int));\n\
                setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){{count}}, sizeof(int));";
    Advice {
        place: "code",
        because,
        lines: proposal.fill(line).lines().map(str::to_owned).collect(),
    }
}

/// Debian's package libkeepalive0 puts the calls before those of a program that cannot be changed.
fn unit_drop_in(unit: &str, proposal: Proposal) -> Advice {
    let line = "[Service]   # systemctl edit UNIT; the library: libkeepalive\n\
                Environment=LD_PRELOAD=libkeepalive.so\n\
                Environment=KEEPIDLE={idle} KEEPINTVL={interval} KEEPCNT={count}";
    Advice {
        place: "unit",
        because: "where the program cannot be changed (not for static ones, nor Go)".to_owned(),
        lines: proposal.fill(line).replace("UNIT", unit).lines().map(str::to_owned).collect(),
    }
}

/// The system's times, where this process takes them from.
fn system(around: &RunsIn, proposal: Proposal, because: String) -> Advice {
    const SYSCTL: &str = "sysctl -w net.ipv4.tcp_keepalive_time={idle} \\\n  \
                          net.ipv4.tcp_keepalive_intvl={interval} \
                          net.ipv4.tcp_keepalive_probes={count}";
    let (place, line) = match (&around.pod, &around.container, around.foreign_netns) {
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
            format!("nsenter -t {pid} -n {SYSCTL}\n# it has a network namespace of its own"),
        ),
        _ => ("sysctl", format!("{SYSCTL}\n# to stay: the same lines in /etc/sysctl.d/")),
    };
    Advice { place, because, lines: proposal.fill(&line).lines().map(str::to_owned).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        advice::{
            clients::{OFF, ON},
            process_clues::Traces,
            recognise::{Look, recognise},
        },
        model::observed::socket::Direction,
    };

    fn told(need: Need, own: OwnValues, process: &str, port: u16, around: &RunsIn) -> String {
        let look = Look {
            traces: Traces::of_name(process),
            port,
            direction: Direction::Outbound,
            own,
            refused: Vec::new(),
        };
        let recognised = recognise(&look);
        advise(need, &own, recognised.as_ref(), around, Proposal::USUAL)
            .iter()
            .map(|it| format!("[{}] {}\n{}", it.place, it.because, it.lines.join("\n")))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn a_recognised_client_is_told_its_own_line() {
        let around = RunsIn::default();
        let psql = told(Need::Keepalive, ON, "psql", 5432, &around);
        assert!(psql.contains("typical of libpq") && psql.contains("keepalives_idle=60"), "{psql}");
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
        let ssh = told(Need::Ping, ON, "ssh", 22, &RunsIn::default());
        assert!(ssh.contains("ServerAliveInterval 60") && !ssh.contains("sysctl"), "{ssh}");
        let unknown = told(Need::Ping, ON, "myapp", 1, &RunsIn::default());
        assert!(unknown.contains("at least every 60 s"), "{unknown}");
    }
}
