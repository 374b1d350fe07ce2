//! Clients that are recognised, and those that are not taken for another.

use super::*;
use crate::advice::{
    clients::{OFF, ON, on},
    go_build::GoBuild,
};

pub(super) fn look(executable: &str, mapped: &[&str], port: u16, own: OwnValues) -> Look {
    let traces = Traces {
        comm: Some(executable.get(..15).unwrap_or(executable).to_owned()),
        executable: Some(executable.to_owned()),
        mapped: mapped.iter().map(|&path| path.to_owned()).collect(),
        are_files_read: true,
        ..Traces::default()
    };
    Look { traces, port, direction: Direction::Outbound, own, refused: Vec::new() }
}

fn name(look: &Look) -> &'static str {
    recognise(look).first().map_or("nobody", |it| it.client.name)
}

pub(super) fn names(look: &Look) -> Vec<(&'static str, bool)> {
    recognise(look).iter().map(|it| (it.client.name, it.is_sure)).collect()
}

#[test]
fn recorded_processes_are_recognised() {
    // Executables and mapped files as seen on Debian 12 and in wheels of PyPI.
    let cases: [(Look, &str); 17] = [
        (look("psql", &["/usr/lib/x86_64-linux-gnu/libpq.so.5.15"], 5432, on(0, 0, 0)), "libpq"),
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
        (look("python3", &["/v/asyncpg/protocol/protocol.so"], 5432, OFF), "Python with asyncpg"),
        (look("python3", &[], 27017, on(120, 10, 0)), "PyMongo"),
        (look("node", &[], 443, on(60, 1, 10)), "Node's fetch"),
        (look("node", &[], 8080, on(1, 1, 10)), "Node's http.Agent"),
        (look("node", &[], 7777, OFF), "Node's net.connect"),
        (look("node", &[], 5432, OFF), "node-postgres"),
        (look("curl", &["/usr/lib/libcurl.so.4"], 443, on(60, 60, 0)), "curl"),
        (look("git-remote-https", &["/usr/lib/libcurl-gnutls.so.4"], 443, OFF), "a program with"),
        (look("java", &["/usr/lib/jvm/lib/server/libjvm.so"], 9999, OFF), "Java sockets"),
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
        look.traces.go = Some(GoBuild::default());
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
    node.port = 9042;
    assert_eq!(names(&node), [("the Cassandra driver for Node", true)]);
}

#[test]
fn after_a_refused_call_the_library_of_the_port_comes_first_whatever_others_make_that_call() {
    let line = |port| {
        let mut node = look("node", &[], port, on(0, 0, 0));
        node.refused.push((SockOpt::Idle, Some(0)));
        recognise(&node).first().and_then(|it| it.client.line()).unwrap()
    };
    assert!(line(5432).contains("keepAliveInitialDelayMillis"), "{}", line(5432));
    assert!(line(5672).contains("amqp.connect") && line(6379).contains("new Redis"));
    // The look-alike: on a port of nobody only that call is known.
    assert!(line(15432).contains("amqplib: keepAliveDelay"), "{}", line(15432));
    // So it is for each library of a runtime that has a port of its own.
    let is_plain = |clue: &Clue| matches!(clue, Clue::Runtime(_) | Clue::Port(_));
    for clues in clients::of(Direction::Outbound).flat_map(|it| it.clues) {
        let (Some(Clue::Runtime(runtime)), Some(Clue::Port(port))) = (clues.first(), clues.last())
        else {
            continue;
        };
        if HTTP.contains(port) || !clues.iter().all(is_plain) {
            continue;
        }
        let mut look = look(runtime, &[], *port, on(0, 0, 0));
        let is_of_port = |look: &Look| {
            let clues = recognise(look).first().map(|it| it.client.clues).unwrap_or_default();
            clues.iter().any(|clues| clues.contains(&Clue::Port(*port)))
        };
        // Else it never turns keepalive on.
        let was_of_port = is_of_port(&look);
        look.refused.push((SockOpt::Idle, Some(0)));
        assert!(is_of_port(&look) || !was_of_port, "{runtime} on {port}: {}", name(&look));
    }
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
    let jvm = ("Java sockets", true);
    assert_eq!(java(&[], OFF), [("Lettuce before 7", false), jvm]);
    assert_eq!(java(&[], on(13, 13, 3)), [("Lettuce from 7", false), jvm]);
    assert_eq!(java(&["/app/lib/lettuce-core-6.3.2.jar"], OFF), [("Lettuce before 7", true)]);
    assert_eq!(java(&["/app/lib/lettuce-core-7.0.jar"], on(5, 5, 3)), [("Lettuce from 7", true)]);
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
    assert_eq!(name(&look("java", &[], 5432, on(60, 10, 3))), "Java sockets");
    assert_eq!(name(&look("java", &[], 5432, on(0, 0, 0))), "pgjdbc (PostgreSQL for Java)");
}

#[test]
fn a_library_inside_an_interpreter_gets_its_own_row_on_any_port() {
    let cases = [
        ("python3", "/v/oracledb/thin_impl.cpython-311.so", 1522, OFF, "python-oracledb, thin"),
        ("php-fpm8.2", "/opt/oracle/libclntsh.so.21.1", 1521, OFF, "Oracle's client library (OCI)"),
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
        ("php", "/usr/lib/php/20220829/amqp.so", 5000, on(0, 0, 0), "PHP streams"),
        ("php", "/usr/lib/x86_64-linux-gnu/librabbitmq.so.4", 5673, on(0, 0, 0), "rabbitmq-c"),
    ];
    for (process, file, port, own, expected) in cases {
        let look = look(process, &[file], port, own);
        assert_eq!(name(&look), expected, "{:?}", names(&look));
        // On its own port and where only one library can own it, it is sure; else the language may.
        let is_sure = matches!(port, 1521 | 389 | 5555 | 5000);
        assert_eq!(recognise(&look)[0].is_sure, is_sure, "{:?}", names(&look));
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
    go.traces.go = Some(GoBuild::default());
    assert_eq!(name(&go), "a Go server");
}

#[test]
fn pings_that_are_on_already_are_seen() {
    let own = OwnValues { user_timeout_ms: 10_000, ..OFF };
    let grpc =
        |own| name(&look("python3", &["/v/grpc/_cython/cygrpc.cpython-311.so"], 50_051, own));
    assert_eq!((grpc(own), grpc(OFF)), ("gRPC core, its pings are on", "gRPC core"));
}

#[test]
fn http_in_a_python_that_has_aiohttp_loaded_may_be_of_another_library() {
    // As the Elasticsearch client does, which imports it and uses urllib3.
    for port in [80, 443, 8080] {
        let found = names(&look("python3", &["/v/aiohttp/_http_parser.so"], port, OFF));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0] == ("Python with aiohttp", false) && found[2].1, "{found:?}");
    }
}

#[test]
fn what_python_speaks_is_guessed_by_the_port_and_every_candidate_is_named() {
    let of = |port, own| names(&look("python3", &[], port, own));
    assert_eq!(of(11211, OFF)[0], ("pymemcache", false));
    let amqp: Vec<_> = of(5672, OFF).into_iter().map(|(name, _)| name).collect();
    assert!(amqp.contains(&"pika") && amqp.contains(&"aio-pika (aiormq)"), "{amqp:?}");
    assert_eq!(of(9999, OFF).len(), 1);
}

#[test]
fn the_file_that_names_the_library_is_said() {
    let files = ["/v/pycurl.libs/libbrotli-77.so.1", "/v/libcurl.so.4", "/v/pycurl.cpython-311.so"];
    let found = recognise(&look("python3", &files, 80, OFF)).remove(0);
    assert_eq!(found.client.name, "pycurl");
    assert!(found.because.iter().any(|it| it == "pycurl.cpython-311.so is loaded"), "{found:?}");
}

/// A Go program of this version with these modules.
fn go(version: &str, modules: &[&str], port: u16, own: OwnValues) -> Look {
    let mut look = look("shop", &["/app/shop"], port, own);
    look.traces.go = Some(GoBuild {
        version: (!version.is_empty()).then(|| version.to_owned()),
        modules: modules.iter().map(|&module| module.to_owned()).collect(),
    });
    look
}

/// What is said first, with whether it is sure, and its line.
fn first(look: &Look) -> (&'static str, bool, &'static str) {
    let found = recognise(look);
    (found[0].client.name, found[0].is_sure, found[0].client.line().unwrap_or_default())
}

#[test]
fn a_go_program_gets_only_what_its_own_version_compiles() {
    let libraries = ["", "github.com/jackc/pgx/v5", "github.com/redis/go-redis/v9"];
    for direction in [Direction::Outbound, Direction::Inbound] {
        for module in libraries {
            for port in [443, 5432, 6379, 9999] {
                for own in [OFF, ON, on(15, 15, 0), on(15, 15, 9), on(300, 15, 9), on(7, 7, 7)] {
                    let of = |version| {
                        let look = Look { direction, ..go(version, &[module], port, own) };
                        let found = recognise(&look);
                        assert!(found.iter().any(|it| it.is_sure), "{version} {look:?}");
                        found.into_iter().filter_map(|it| it.client.line()).collect::<String>()
                    };
                    let (old, new) = (of("go1.22.9"), of("go1.23.0"));
                    let uses =
                        |lines: &str| lines.contains("KeepAliveConfig: net.KeepAliveConfig{");
                    assert!(!uses(&old) && old.contains("KeepAlive: {idle}"), "{old}");
                    assert!(uses(&new) || new.contains("Ping"), "{new}");
                }
            }
        }
    }
    // Of an unknown version, what every Go compiles, unless the values are those of a newer one.
    assert!(!first(&go("", &[], 9999, OFF)).2.contains("net.KeepAliveConfig{"));
    assert!(first(&go("", &[], 9999, on(15, 15, 9))).2.contains("net.KeepAliveConfig{"));
}

#[test]
fn a_go_program_is_all_that_is_said_of_it() {
    let off = go("go1.19.8", &[], 8080, OFF);
    assert_eq!(names(&off), [("Go with keepalive switched off (KeepAlive: -1)", true)]);
    assert_eq!(recognise(&off)[0].because, ["built with go1.19.8", "it sets off"]);
}

#[test]
fn a_library_of_a_go_program_is_sure_where_it_is_inside_and_out_of_the_question_where_it_is_not() {
    let pgx = ["github.com/jackc/pgx/v5"];
    let own = on(15, 15, 9);
    assert_eq!(names(&go("go1.24.1", &pgx, 5432, own)), [("pgx (PostgreSQL for Go)", true)]);
    // It speaks to something else.
    assert_eq!(first(&go("go1.24.1", &pgx, 6379, own)).0, "Go's net.Dialer");
    // Nothing of the kind is inside.
    assert_eq!(names(&go("go1.24.1", &[], 5432, own)), [("Go's net.Dialer", true)]);
    // Both are: it may be each.
    let both = ["github.com/jackc/pgx/v5", "github.com/lib/pq"];
    let names = names(&go("go1.24.1", &both, 5432, own));
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(!names[0].1 && !names[1].1 && names[2].1, "{names:?}");
}

#[test]
fn its_own_library_and_port_beat_what_is_only_loaded() {
    let both = ["/usr/lib/php/20220829/redis.so", "/usr/lib/x86_64-linux-gnu/libpq.so.5.15"];
    for own in [OFF, ON] {
        for process in ["php8.2", "php-fpm8.2"] {
            assert_eq!(names(&look(process, &both, 6379, own)), [("phpredis", true)], "{own:?}");
            assert_eq!(names(&look(process, &both, 5432, ON)), [("libpq", true)]);
        }
    }
    // Nobody is known to speak there: each may.
    let unknown = names(&look("php8.2", &both, 7000, ON));
    assert!(unknown.len() == 3 && !unknown[0].1 && !unknown[1].1, "{unknown:?}");
    // Alone it is sure where no interpreter has it, and out of the question on the port of another protocol.
    assert_eq!(names(&look("app", &both[1..], 7000, ON)), [("libpq", true)]);
    let streams = ("PHP streams", true);
    assert_eq!(names(&look("php8.2", &both[1..], 7000, ON)), [("libpq", false), streams]);
    assert_eq!(names(&look("php8.2", &both, 9007, OFF)), [("phpredis", false), streams]);
    for port in [6379, 3306, 11211, 9092, 5672] {
        let names = names(&look("php8.2", &both[1..], port, ON));
        assert!(names.iter().all(|(name, _)| *name != "libpq"), "{port}: {names:?}");
    }
}

#[test]
fn what_is_typical_of_a_client_is_not_said_of_another_language() {
    // redis-py's, Lettuce's, Go's, tokio's values.
    for own in [on(30, 5, 3), on(13, 13, 3), on(15, 15, 9), on(7200, 0, 0), on(120, 10, 9)] {
        for (process, port) in [("node", 6379), ("java", 6379), ("php8.2", 7000), ("ruby3.1", 443)]
        {
            for (name, _) in names(&look(process, &[], port, own)) {
                let is_other =
                    ["redis-py", "Go's", "tokio", "PyMongo"].iter().any(|it| name.contains(it));
                let is_lettuce = name.contains("Lettuce") && process != "java";
                assert!(!is_other && !is_lettuce, "{process}:{port} {own:?}: {name}");
            }
        }
    }
}

#[test]
fn what_only_c_can_call_is_not_said_of_an_interpreter() {
    let curl = ["/usr/lib/x86_64-linux-gnu/libcurl.so.4"];
    assert_eq!(names(&look("x", &curl, 443, OFF)), [("a program with libcurl", true)]);
    let php = names(&look("php8.2", &curl, 443, OFF));
    assert!(php[0].0.starts_with("PHP's curl extension") && !php[0].1, "{php:?}");
    assert_eq!(php.last(), Some(&("PHP streams", true)));
    assert!(
        !names(&look("ruby3.1", &curl, 443, OFF)).iter().any(|(name, _)| name.contains("libcurl"))
    );
}

#[test]
fn of_a_process_whose_libraries_could_not_be_read_they_are_a_guess_by_the_port() {
    let unread = |process: &str, port, own| {
        let mut look = look(process, &[], port, own);
        look.traces.are_files_read = false;
        look
    };
    let ruby = unread("ruby3.1", 5432, ON);
    assert_eq!(names(&ruby), [("libpq", false), ("Ruby sockets and Net::HTTP", true)]);
    assert_eq!(
        recognise(&ruby)[1].because,
        ["the program is ruby3.1", "which libraries it had loaded is not known"]
    );
    // Read, and nothing of the kind there.
    let read = Look { traces: Traces { are_files_read: true, ..ruby.traces.clone() }, ..ruby };
    assert_eq!(names(&read), [("Ruby sockets and Net::HTTP", true)]);
    // Java, Node and Go bring their own.
    for (process, port) in [("java", 5432), ("node", 5432)] {
        let names = names(&unread(process, port, OFF));
        assert!(names.iter().all(|(name, _)| *name != "libpq"), "{names:?}");
    }
    assert_eq!(names(&unread("ruby3.1", 9999, OFF)), [("Ruby sockets and Net::HTTP", true)]);
    // An unknown program.
    assert_eq!(names(&unread("myapp", 5432, ON)), [("libpq", false)]);
    assert_eq!(names(&unread("myapp", 9999, ON)), []);
}

#[test]
fn redis_of_each_language_gets_its_own_row() {
    let cases = [
        ("ruby3.1", OFF, "redis-rb before 5"),
        ("ruby3.1", on(120, 15, 7), "redis-client (redis-rb from 5, Sidekiq from 7)"),
        ("php8.2", OFF, "Predis"),
        ("python3", OFF, "redis-py before 8"),
        ("node", on(30, 1, 10), "ioredis or node-redis"),
    ];
    for (process, own, expected) in cases {
        let found = names(&look(process, &[], 6379, own));
        assert!(found[0] == (expected, false) && found.len() > 1, "{process}: {found:?}");
    }
    let loaded = look("php8.2", &["/usr/lib/php/20220829/redis.so"], 6379, OFF);
    assert_eq!(names(&loaded), [("phpredis", true)]);
}

#[test]
fn an_idle_time_of_its_own_in_node_may_be_the_agents() {
    let found = names(&look("node", &[], 9006, on(3600, 1, 10)));
    assert_eq!(
        found,
        [("Node's http.Agent", false), ("Node's net.connect and what is built on it", true)]
    );
    assert_eq!(names(&look("node", &[], 9006, OFF)).len(), 1);
    // Another protocol's port: no agent for HTTP speaks there.
    let redis = names(&look("node", &[], 6379, on(3600, 1, 10)));
    assert!(redis.len() == 2 && redis.iter().all(|(name, _)| !name.contains("Agent")), "{redis:?}");
}
