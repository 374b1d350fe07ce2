//! Which client or server a process is, most likely: the row whose clues weigh most.

use super::{
    clients::{self, Client, Clue},
    process_clues::Traces,
};
use crate::model::observed::{setsockopt::SockOpt, setting::OwnValues, socket::Direction};

/// What is known of the connections that are to be recognised.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// What their process shows.
    pub traces: Traces,
    /// The peer's port; our own if the peer connected.
    pub port: u16,
    /// The end that opened the connection.
    pub direction: Direction,
    /// The settings of the socket itself.
    pub own: OwnValues,
    /// Calls that were refused.
    pub refused: Vec<(SockOpt, Option<i32>)>,
}

/// A client that it looks like.
#[derive(Clone, Debug)]
pub(crate) struct Recognised {
    /// The client in the table of advice.
    pub client: &'static Client,
    /// What gave it away, in words.
    pub because: Vec<String>,
}

/// The client that weighs most; of equals the first of the table.
pub(crate) fn recognise(look: &Look) -> Option<Recognised> {
    let mut best: Option<(u32, &Client, &[Clue])> = None;
    for client in clients::all() {
        for &clues in client.clues {
            if !clues.iter().all(|clue| look.shows(client, *clue)) {
                continue;
            }
            let weight: u32 = clues.iter().map(|clue| clue.weight()).sum();
            if best.is_none_or(|(most, ..)| weight > most) {
                best = Some((weight, client, clues));
            }
        }
    }
    best.map(|(_, client, clues)| Recognised {
        client,
        because: clues.iter().filter_map(|clue| look.words(*clue)).collect(),
    })
}

impl Look {
    fn shows(&self, client: &Client, clue: Clue) -> bool {
        match clue {
            Clue::Name(name) => self.name_like(name).is_some(),
            Clue::Library(part) => self.library(part).is_some(),
            Clue::Go => self.traces.is_go,
            Clue::Port(port) => port == self.port,
            Clue::Values(values) => self.own == values,
            Clue::Defaults => self.own == client.default,
            Clue::Refused(option, value) => self.refused.contains(&(option, Some(value))),
            Clue::Inbound => self.direction == Direction::Inbound,
            Clue::Outbound => self.direction == Direction::Outbound,
        }
    }

    /// The process's name or its executable's, if it is `name` with or without a version.
    fn name_like(&self, name: &str) -> Option<&str> {
        [&self.traces.comm, &self.traces.executable].into_iter().flatten().map(String::as_str).find(
            |found| {
                // The kernel cuts names to 15 bytes.
                let name = if found.len() == 15 { name.get(..15).unwrap_or(name) } else { name };
                found.strip_prefix(name).is_some_and(|rest| {
                    rest.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-'))
                })
            },
        )
    }

    fn library(&self, part: &str) -> Option<&str> {
        self.traces.mapped.iter().map(String::as_str).find(|path| path.contains(part))
    }

    /// What a clue that shows is, to read; none if it goes without saying.
    fn words(&self, clue: Clue) -> Option<String> {
        match clue {
            Clue::Name(name) => self.name_like(name).map(|found| format!("the program is {found}")),
            Clue::Library(part) => self
                .library(part)
                .map(|path| format!("{} is loaded", path.rsplit('/').next().unwrap_or(path))),
            Clue::Go => Some("a Go program".to_owned()),
            Clue::Port(port) => Some(format!("port {port}")),
            Clue::Values(_) | Clue::Defaults => Some(format!("the values {}", values(&self.own))),
            Clue::Refused(option, value) => {
                Some(format!("{} = {value} was refused", option.as_str()))
            }
            Clue::Inbound | Clue::Outbound => None,
        }
    }
}

/// `60/10/-`, as values are written in this field: idle, interval, count.
pub(crate) fn values(own: &OwnValues) -> String {
    let part = |value: u32| if value == 0 { "-".to_owned() } else { value.to_string() };
    let mut text = if own.keepalive {
        format!("{}/{}/{}", part(own.idle), part(own.interval), part(own.count))
    } else {
        "off".to_owned()
    };
    if own.user_timeout_ms > 0 {
        text += &format!(" ut {} ms", own.user_timeout_ms);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{
        super::clients::{OFF, on},
        *,
    };

    fn look(executable: &str, mapped: &[&str], port: u16, own: OwnValues) -> Look {
        let traces = Traces {
            comm: Some(executable.get(..15).unwrap_or(executable).to_owned()),
            executable: Some(executable.to_owned()),
            mapped: mapped.iter().map(|&path| path.to_owned()).collect(),
            is_go: false,
        };
        Look { traces, port, direction: Direction::Outbound, own, refused: Vec::new() }
    }

    fn name(look: &Look) -> &'static str {
        recognise(look).map_or("nobody", |it| it.client.name)
    }

    #[test]
    fn recorded_processes_are_recognised() {
        // Executables and mapped files as seen on Debian 12 and in wheels of PyPI.
        let cases: [(Look, &str); 17] = [
            (
                look("psql", &["/usr/lib/x86_64-linux-gnu/libpq.so.5.15"], 5432, on(0, 0, 0)),
                "libpq",
            ),
            (
                look(
                    "python3.11",
                    &["/v/psycopg2_binary.libs/libpq-e8a033dd.so.5.16"],
                    6432,
                    on(0, 0, 0),
                ),
                "libpq",
            ),
            (look("python3.11", &["/v/libpq-e8a033dd.so.5.16"], 9999, OFF), "Python sockets"),
            (look("python3.11", &[], 443, OFF), "Python with requests"),
            (
                look("python3.12", &["/v/aiohttp/_http_parser.cpython-312.so"], 443, OFF),
                "Python with aiohttp",
            ),
            (
                look("python3", &["/v/asyncpg/protocol/protocol.so"], 5432, OFF),
                "Python with asyncpg",
            ),
            (look("python3", &[], 27017, on(120, 10, 0)), "PyMongo"),
            (look("node", &[], 443, on(60, 1, 10)), "Node's fetch"),
            (look("node", &[], 8080, on(1, 1, 10)), "Node's http.Agent"),
            (look("node", &[], 7777, OFF), "Node's net.connect"),
            (look("node", &[], 5432, OFF), "node-postgres"),
            (look("curl", &["/usr/lib/libcurl.so.4"], 443, on(60, 60, 0)), "curl"),
            (
                look("git-remote-https", &["/usr/lib/libcurl-gnutls.so.4"], 443, OFF),
                "a program with",
            ),
            (look("java", &["/usr/lib/jvm/lib/server/libjvm.so"], 443, OFF), "Java sockets"),
            (look("java", &["/usr/lib/jvm/lib/server/libjvm.so"], 5432, OFF), "pgjdbc"),
            (look("ssh", &[], 22, on(0, 0, 0)), "the OpenSSH client"),
            (look("x", &["/usr/share/dotnet/libcoreclr.so"], 443, OFF), ".NET HttpClient"),
        ];
        for (look, expected) in cases {
            let found = name(&look);
            assert!(found.starts_with(expected), "{found}, not {expected}: {look:?}");
        }
    }

    #[test]
    fn values_alone_are_typical_of_some_and_of_nobody() {
        let reqwest = OwnValues { user_timeout_ms: 30_000, ..on(15, 15, 3) };
        let cases = [
            (on(15, 15, 9), "Go's net.Dialer"),
            (on(30, 15, 9), "Go's http.DefaultTransport"),
            (reqwest, "reqwest"),
            (on(30, 5, 3), "redis-py or go-redis"),
            (on(13, 13, 3), "Lettuce"),
            (on(61, 7, 4), "nobody"),
            (OFF, "nobody"),
            (on(0, 0, 0), "nobody"),
        ];
        for (own, expected) in cases {
            assert_eq!(name(&look("myapp", &[], 9999, own)), expected);
        }
    }

    #[test]
    fn go_is_told_by_its_version_of_the_values() {
        let go = |own| {
            let mut look = look("shop", &["/app/shop"], 443, own);
            look.traces.is_go = true;
            recognise(&look).map(|it| (it.client.name, it.client.versions)).unwrap()
        };
        assert_eq!(go(on(15, 15, 9)), ("Go's net.Dialer", "1.23 and later"));
        assert_eq!(go(on(15, 15, 0)), ("Go's net.Dialer", "1.13 to 1.22"));
        assert!(go(OFF).0.contains("switched off"));
    }

    #[test]
    fn a_refused_call_gives_mysql2_away() {
        let mut node = look("node", &[], 13306, on(0, 0, 0));
        assert_eq!(name(&node), "Node's net.connect and what is built on it");
        node.refused.push((SockOpt::Idle, Some(0)));
        let found = recognise(&node).unwrap();
        assert!(found.client.name.contains("keepAliveInitialDelay unset"), "{}", found.client.name);
        assert!(found.because.iter().any(|why| why == "TCP_KEEPIDLE = 0 was refused"));
        node.port = 3306;
        assert_eq!(name(&node), "mysql2 for Node");
    }

    #[test]
    fn a_server_is_not_taken_for_its_client() {
        let mut nginx = look("nginx", &[], 443, OFF);
        assert_eq!(name(&nginx), "nginx, towards upstreams");
        nginx.direction = Direction::Inbound;
        assert_eq!(name(&nginx), "nginx, towards clients");
    }
}
