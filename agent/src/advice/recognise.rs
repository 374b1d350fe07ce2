//! Which client or server a process is: the rows whose clues weigh most, and whether that is a guess.

use super::{
    clients::{self, Client, Clue, How},
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
    /// The program or library itself shows; else it is a guess by port, values or the language.
    pub is_sure: bool,
    /// What is built on the client, as this process shows it.
    pub part_of: Option<&'static str>,
}

/// A row that fits, with the clues that weigh most.
#[derive(Clone, Copy)]
struct Fit {
    client: &'static Client,
    clues: &'static [Clue],
    weight: u32,
}

/// The clients that it may be, the likeliest first: one if that is sure, else up to two guesses, and last what holds
/// for any program of that language.
pub(crate) fn recognise(look: &Look) -> Vec<Recognised> {
    let mut fits: Vec<Fit> = clients::of(look.direction).filter_map(|it| look.fit(it)).collect();
    // Stable: of equals the first of the table.
    fits.sort_by_key(|fit| std::cmp::Reverse(fit.weight));
    let Some(best) = fits.first().copied() else {
        return Vec::new();
    };
    let mut chosen = vec![best];
    let is_alone =
        best.is_sure() && (best.is_specific() || !fits.iter().skip(1).any(Fit::is_rival));
    if !is_alone {
        chosen.extend(fits.iter().skip(1).find(|fit| fit.is_rival()));
        chosen.extend(fits.iter().find(|fit| clients::is_generic(fit.clues)));
    }
    let mut lines = Vec::new();
    chosen.retain(|fit| {
        let line = fit.client.line();
        let is_new = !lines.contains(&line);
        lines.push(line);
        is_new
    });
    let is_one = chosen.len() == 1;
    let told = |fit: Fit| Recognised {
        client: fit.client,
        because: fit.clues.iter().filter_map(|clue| look.words(*clue)).collect(),
        is_sure: (is_one && fit.is_sure()) || clients::is_generic(fit.clues),
        part_of: fit.client.used_by.iter().copied().find(|part| look.uses(part)),
    };
    chosen.into_iter().map(told).collect()
}

impl Fit {
    /// The program or library shows, or no more than the language is said.
    fn is_sure(&self) -> bool {
        self.clues.iter().any(|clue| clue.is_proof())
            || clients::is_generic(self.clues)
            || matches!(self.clues, [Clue::Go, Clue::Defaults])
    }

    /// It says more than that something is loaded: this connection fits it, too.
    fn is_specific(&self) -> bool {
        clients::is_generic(self.clues)
            || self.clues.iter().any(|clue| !matches!(clue, Clue::Library(_)))
    }

    /// It says more than the language.
    fn is_rival(&self) -> bool {
        !clients::is_generic(self.clues)
    }
}

impl Look {
    /// The list of this client's clues that weighs most, if one shows and nothing speaks against the client.
    fn fit(&self, client: &'static Client) -> Option<Fit> {
        let weigh = |clues: &[Clue]| clues.iter().map(|clue| clue.weight()).sum::<u32>();
        let shown =
            client.clues.iter().filter(|clues| clues.iter().all(|clue| self.shows(client, *clue)));
        let clues = shown.copied().max_by_key(|clues| weigh(clues))?;
        // Of two versions that look alike, the one whose default the socket has.
        let weight = 2 * weigh(clues) + u32::from(client.default.keepalive == self.own.keepalive);
        let fit = Fit { client, clues, weight };
        (!self.speaks_against(&fit)).then_some(fit)
    }

    /// What the socket or its port says against it: a program that shows itself may have been configured, a guess is
    /// only as good as all that is known.
    fn speaks_against(&self, fit: &Fit) -> bool {
        let client = fit.client;
        if clients::is_generic(fit.clues) {
            return false;
        }
        if fit.clues.iter().any(|clue| clue.is_proof()) {
            let is_loaded_only = fit.clues.iter().all(|clue| matches!(clue, Clue::Library(_)));
            return is_loaded_only && self.is_port_of_others(client);
        }
        let is_off = client.default.keepalive && !self.own.keepalive;
        let sets_times = matches!(client.how, How::Line(_)) || self.own.idle == client.default.idle;
        let can_be_on = !matches!(client.how, How::None) || client.default.keepalive;
        is_off || (self.own.idle > 0 && !sets_times) || (self.own.keepalive && !can_be_on)
    }

    /// The client speaks one protocol, and the port belongs to another.
    fn is_port_of_others(&self, client: &Client) -> bool {
        let clues = |client: &Client| client.clues.iter().copied().flatten();
        let knows = |client: &Client| clues(client).any(|clue| *clue == Clue::Port(self.port));
        let has_port = clues(client).any(|clue| matches!(clue, Clue::Port(_)));
        has_port && !knows(client) && clients::of(self.direction).any(knows)
    }

    /// Whether the process is `part`, or has a file of it loaded.
    fn uses(&self, part: &str) -> bool {
        self.name_like(part).is_some() || self.library(part).is_some()
    }

    fn shows(&self, client: &Client, clue: Clue) -> bool {
        match clue {
            Clue::Name(name) | Clue::Runtime(name) => self.name_like(name).is_some(),
            Clue::Library(part) | Clue::VirtualMachine(part) => self.library(part).is_some(),
            Clue::Go => self.traces.is_go,
            Clue::Port(port) => port == self.port,
            Clue::Values(values) => self.own == values,
            Clue::Defaults => self.own == client.default,
            Clue::Refused(option, value) => self.refused.contains(&(option, Some(value))),
            Clue::Kernel => self.traces.is_kernel(),
            Clue::SocketActivated => self.traces.is_socket_activated,
            Clue::UserTimeoutOnly => !self.own.keepalive && self.own.user_timeout_ms > 0,
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
            Clue::Name(name) | Clue::Runtime(name) => {
                self.name_like(name).map(|found| format!("the program is {found}"))
            }
            Clue::Library(part) | Clue::VirtualMachine(part) => self
                .library(part)
                .map(|path| format!("{} is loaded", path.rsplit('/').next().unwrap_or(path))),
            Clue::Go => Some("a Go program".to_owned()),
            Clue::Port(port) => Some(format!("port {port}")),
            Clue::Values(_) | Clue::Defaults => Some(sets(&self.own)),
            Clue::Kernel => Some("the kernel itself owns the connection".to_owned()),
            Clue::SocketActivated => Some("systemd passed its listening socket to it".to_owned()),
            Clue::UserTimeoutOnly => Some(format!(
                "keepalive is off, and a user timeout of {} ms is set",
                self.own.user_timeout_ms
            )),
            Clue::Refused(option, value) => {
                Some(format!("{} = {value} was refused", option.as_str()))
            }
        }
    }
}

/// What the socket itself sets, in words.
fn sets(own: &OwnValues) -> String {
    if *own == clients::ON {
        "it turns keepalive on and sets no times of its own".to_owned()
    } else {
        format!("it sets {}", values(own))
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
            ..Traces::default()
        };
        Look { traces, port, direction: Direction::Outbound, own, refused: Vec::new() }
    }

    fn name(look: &Look) -> &'static str {
        recognise(look).first().map_or("nobody", |it| it.client.name)
    }

    fn names(look: &Look) -> Vec<(&'static str, bool)> {
        recognise(look).iter().map(|it| (it.client.name, it.is_sure)).collect()
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
            let found = name(&look("myapp", &[], 9999, own));
            assert!(found.starts_with(expected), "{found}, not {expected}");
        }
    }

    #[test]
    fn go_is_told_by_its_version_of_the_values() {
        let go = |own| {
            let mut look = look("shop", &["/app/shop"], 443, own);
            look.traces.is_go = true;
            recognise(&look).first().map(|it| (it.client.name, it.client.versions)).unwrap()
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
        let found = recognise(&node).remove(0);
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

    #[test]
    fn a_loaded_library_is_sure_and_a_port_or_a_name_alone_is_a_guess() {
        let java = |files: &[&str], own| names(&look("java", files, 6379, own));
        let jvm = ("Java sockets and HttpClient", true);
        assert_eq!(java(&[], OFF), [("Lettuce before 7", false), jvm]);
        assert_eq!(java(&[], on(13, 13, 3)), [("Lettuce from 7", false), jvm]);
        assert_eq!(java(&["/app/lib/lettuce-core-6.3.2.jar"], OFF), [("Lettuce before 7", true)]);
        assert_eq!(
            java(&["/app/lib/lettuce-core-7.0.jar"], on(5, 5, 3)),
            [("Lettuce from 7", true)]
        );
        let python = |files: &[&str], port, own| names(&look("python3.11", files, port, own));
        let raw = ("Python sockets, http.client and what is built on them", true);
        assert_eq!(python(&[], 6379, OFF), [("redis-py before 8", false), raw]);
        assert_eq!(python(&[], 6379, on(30, 5, 3)), [("redis-py from 8", false), raw]);
        assert_eq!(python(&[], 9999, OFF), [raw]);
        let libpq = "/v/psycopg2_binary.libs/libpq-e8a033dd.so.5.16";
        let found = recognise(&look("python3.11", &[libpq], 5432, on(0, 0, 0)));
        assert_eq!((found.len(), found[0].is_sure, found[0].part_of), (1, true, Some("psycopg2")));
    }

    #[test]
    fn what_the_socket_shows_rules_a_guess_out() {
        // PyMySQL turns keepalive on and cannot set times.
        assert_ne!(
            name(&look("python3", &[], 3306, on(7, 7, 3))),
            "the MySQL or MariaDB client library, mysqlnd or PyMySQL"
        );
        // pgjdbc cannot set times either.
        assert_eq!(name(&look("java", &[], 5432, on(60, 10, 3))), "Java sockets and HttpClient");
        assert_eq!(name(&look("java", &[], 5432, on(0, 0, 0))), "pgjdbc (PostgreSQL for Java)");
    }

    #[test]
    fn a_library_inside_an_interpreter_gets_its_own_row_on_any_port() {
        let cases = [
            ("python3", "/v/oracledb/thin_impl.cpython-311.so", 1522, OFF, "python-oracledb, thin"),
            (
                "php-fpm8.2",
                "/opt/oracle/libclntsh.so.21.1",
                1521,
                OFF,
                "Oracle's client library (OCI)",
            ),
            ("python3", "/v/asyncpg/protocol/protocol.so", 6432, OFF, "Python with asyncpg"),
            (
                "python3",
                "/v/_ldap.cpython-311-x86_64-linux-gnu.so",
                10389,
                on(0, 0, 0),
                "OpenLDAP's client library",
            ),
            (
                "php8.2",
                "/usr/lib/x86_64-linux-gnu/libldap-2.5.so.0",
                389,
                on(3, 1, 3),
                "OpenLDAP's client library",
            ),
            ("node", "/app/node_modules/zeromq/libzmq.so.5", 5555, OFF, "ZeroMQ"),
            ("php", "/usr/lib/php/20220829/amqp.so", 5672, on(0, 0, 0), "PHP streams"),
            ("php", "/usr/lib/x86_64-linux-gnu/librabbitmq.so.4", 5673, on(0, 0, 0), "rabbitmq-c"),
        ];
        for (process, file, port, own, expected) in cases {
            let look = look(process, &[file], port, own);
            assert_eq!(name(&look), expected, "{:?}", names(&look));
            let is_sure = recognise(&look)[0].is_sure;
            assert!(is_sure, "{:?}", names(&look));
        }
        // It is loaded, and another protocol's port is spoken to.
        let others =
            ["/v/oracledb/thin_impl.cpython-311.so", "/usr/lib/x86_64-linux-gnu/libldap-2.5.so.0"];
        assert_eq!(name(&look("python3", &others, 443, OFF)), "Python with requests or urllib3");
        assert_eq!(name(&look("psql", &others[1..], 5432, on(0, 0, 0))), "libpq");
        assert_eq!(name(&look("curl", &others[1..], 443, on(60, 60, 0))), "curl");
        // Two libraries that could both own it.
        let two = ["/v/libzmq-a1.so.5", "/v/librdkafka.so.1"];
        let both = names(&look("python3", &two, 7000, OFF));
        assert!(both.len() == 3 && both.iter().take(2).all(|(_, is_sure)| !is_sure), "{both:?}");
    }

    #[test]
    fn no_client_is_proposed_for_an_inbound_connection() {
        let processes = [
            "python3",
            "node",
            "java",
            "php-fpm8.2",
            "ruby3.1",
            "beam.smp",
            "postgres",
            "redis-server",
            "sshd",
            "x",
        ];
        let is_client = |name: &str| clients::of(Direction::Outbound).any(|it| it.name == name);
        for process in processes {
            for port in [22, 80, 443, 3306, 5432, 6379, 9092, 27017, 50_000] {
                for own in [OFF, on(0, 0, 0), on(1, 1, 10), on(30, 5, 3), on(13, 13, 3)] {
                    let inbound =
                        Look { direction: Direction::Inbound, ..look(process, &[], port, own) };
                    for (name, _) in names(&inbound) {
                        assert!(!is_client(name), "{process}:{port}: {name}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_server_gets_the_option_of_a_server() {
        let inbound = |process: &str, port| Look {
            direction: Direction::Inbound,
            ..look(process, &[], port, OFF)
        };
        let cases = [
            ("node", "a Node server"),
            ("python3", "a Python server"),
            ("gunicorn", "gunicorn"),
            ("java", "a Java server"),
            ("haproxy", "HAProxy, towards clients"),
            ("postgres", "the PostgreSQL server"),
            ("rsyslogd", "rsyslog, which receives (imtcp)"),
            ("slapd", "slapd"),
            ("systemd-socket-proxyd", "systemd, which made the listening socket"),
        ];
        for (process, expected) in cases {
            let found = recognise(&inbound(process, 4000));
            assert_eq!(
                (found[0].client.name, found[0].is_sure, found.len()),
                (expected, true, 1),
                "{process}"
            );
        }
        let mut activated = inbound("python3", 4000);
        activated.traces.is_socket_activated = true;
        assert_eq!(name(&activated), "systemd, which made the listening socket");
        let mut go = inbound("shop", 443);
        go.traces.is_go = true;
        assert_eq!(name(&go), "a Go server");
    }

    #[test]
    fn pings_that_are_on_already_are_seen() {
        let own = OwnValues { user_timeout_ms: 10_000, ..OFF };
        let grpc =
            |own| name(&look("python3", &["/v/grpc/_cython/cygrpc.cpython-311.so"], 50_051, own));
        assert_eq!((grpc(own), grpc(OFF)), ("gRPC core, its pings are on", "gRPC core"));
    }
}
