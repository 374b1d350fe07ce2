//! Go and its libraries. Each has two rows: the fields for interval and count came with Go 1.23, and a line that the
//! program's own Go does not know is no advice. Of an unknown version the older line holds: every Go compiles it.

use super::{
    Client,
    Clue::{Defaults, Go, Module, Port, Values as Set},
    How, OFF, ON, ROW, on,
};
use crate::model::observed::setting::OwnValues;

/// The minor version from which interval and count can be set.
const WITH_CONFIG: u32 = 23;
const NEW: (u32, u32) = (WITH_CONFIG, u32::MAX);
const OLD: (u32, u32) = (0, WITH_CONFIG);

/// A dialer with all three values.
macro_rules! dialer {
    () => {
        "d := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true,\n    \
         Idle: {idle} * time.Second, Interval: {interval} * time.Second, Count: {count}}}"
    };
}

/// The same before Go 1.23, which has one value for idle and interval.
macro_rules! old_dialer {
    () => {
        "d := &net.Dialer{KeepAlive: {idle} * time.Second}   // the interval, too; from Go 1.23: KeepAliveConfig"
    };
}

/// A library that dials by Go's own dialer and takes another.
macro_rules! library {
    ($name:literal, $module:literal, $ports:tt, $then:literal, $source:literal) => {
        library!($name, $module, $ports, $then, None, $source)
    };
    ($name:literal, $module:literal, [$($port:literal),*], $then:literal, $ping:expr, $source:literal) => {
        [
            Client {
                name: $name,
                versions: "with Go 1.23 and later",
                default: NEW_DEFAULT,
                how: How::Line(concat!(dialer!(), "\n", $then)),
                ping: $ping,
                go: NEW,
                clues: &[$(&[Module($module), Port($port)], &[Go, Port($port)],)* &[Module($module)]],
                source: $source,
                ..ROW
            },
            Client {
                name: $name,
                versions: "with Go before 1.23",
                default: OLD_DEFAULT,
                how: How::Line(concat!(old_dialer!(), "\n", $then)),
                ping: $ping,
                go: OLD,
                clues: &[$(&[Module($module), Port($port)], &[Go, Port($port)],)* &[Module($module)]],
                source: $source,
                ..ROW
            },
        ]
    };
}

const NEW_DEFAULT: OwnValues = on(15, 15, 9);
const OLD_DEFAULT: OwnValues = on(15, 15, 0);
const TRACED: &str = "traced go1.27.3; go.dev/doc/go1.23";
const GRPC_PING: &str = "grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: {idle} * time.Second,\n    \
    Timeout: {interval} * time.Second, PermitWithoutStream: true})\n\
    // the server must allow it: EnforcementPolicy{MinTime, PermitWithoutStream: true}";

pub(super) const CLIENTS: &[&[Client]] =
    &[&LANGUAGE, &GO_REDIS, &PGX, &PQ, &MYSQL, &MONGO, &AMQP, &NATS, &SARAMA, &PAHO, &LDAP, &GRPC];

const LANGUAGE: [Client; 7] = [
    Client {
        name: "Go's net.Dialer",
        versions: "1.13 to 1.22",
        default: OLD_DEFAULT,
        how: How::Line(old_dialer!()),
        go: OLD,
        clues: &[&[Go, Defaults], &[Go], &[Go, Set(on(30, 30, 0))]],
        source: "traced go1.19",
        ..ROW
    },
    Client {
        name: "Go's net.Dialer",
        versions: "1.23 and later",
        default: NEW_DEFAULT,
        how: How::Line(dialer!()),
        go: NEW,
        clues: &[&[Go, Defaults], &[Go], &[Set(NEW_DEFAULT)]],
        source: TRACED,
        ..ROW
    },
    Client {
        name: "Go's http.DefaultTransport",
        versions: "1.23 and later",
        default: on(30, 15, 9),
        how: How::Line(concat!(dialer!(), "\n&http.Transport{DialContext: d.DialContext}")),
        ping: Some("http2.Transport{ReadIdleTimeout: {idle} * time.Second}   // HTTP/2 PING"),
        go: NEW,
        clues: &[&[Go, Defaults], &[Set(on(30, 15, 9))]],
        source: TRACED,
        ..ROW
    },
    Client {
        name: "Go's http.DefaultTransport",
        versions: "1.13 to 1.22",
        default: on(30, 30, 0),
        how: How::Line(concat!(old_dialer!(), "\n&http.Transport{DialContext: d.DialContext}")),
        ping: Some("http2.Transport{ReadIdleTimeout: {idle} * time.Second}   // HTTP/2 PING"),
        go: OLD,
        clues: &[
            &[Go, Defaults, Port(443)],
            &[Go, Defaults, Port(80)],
            &[Go, Defaults, Port(8080)],
        ],
        source: "source go1.19 net/http/transport.go, net/dial.go",
        ..ROW
    },
    Client {
        name: "Go with keepalive switched off (KeepAlive: -1)",
        versions: "1.13 to 1.22",
        default: OFF,
        how: How::Line(old_dialer!()),
        go: OLD,
        clues: &[&[Go, Set(OFF)]],
        source: "traced go1.19",
        ..ROW
    },
    Client {
        name: "Go with keepalive switched off (KeepAlive: -1)",
        versions: "1.23 and later",
        default: OFF,
        how: How::Line(dialer!()),
        go: NEW,
        clues: &[&[Go, Set(OFF)]],
        source: TRACED,
        ..ROW
    },
    Client {
        name: "go-redis before 9.22",
        versions: "8 to 9.21",
        default: on(300, 15, 9),
        how: How::Line(concat!(dialer!(), "\nredis.Options{Dialer: d.DialContext}")),
        go: NEW,
        clues: &[
            &[Module("github.com/redis/go-redis"), Set(on(300, 15, 9))],
            &[Module("github.com/go-redis/redis"), Set(on(300, 15, 9))],
        ],
        source: "source go-redis options.go: KeepAlive of 5 minutes",
        ..ROW
    },
];

const GO_REDIS: [Client; 2] = [
    Client {
        name: "go-redis",
        versions: "9.22",
        default: on(30, 5, 3),
        how: How::Line(concat!(dialer!(), "\nredis.Options{Dialer: d.DialContext}")),
        go: NEW,
        clues: &[
            &[Module("github.com/redis/go-redis"), Port(6379)],
            &[Module("github.com/redis/go-redis")],
            &[Go, Defaults],
            &[Go, Port(6379)],
        ],
        source: "source go-redis 9.22 options.go, defaultKeepAliveConfig",
        ..ROW
    },
    Client {
        name: "go-redis",
        versions: "8 and 9, with Go before 1.23",
        default: on(300, 300, 0),
        how: How::Line(concat!(old_dialer!(), "\nredis.Options{Dialer: d.DialContext}")),
        go: OLD,
        clues: &[
            &[Module("github.com/redis/go-redis"), Port(6379)],
            &[Module("github.com/go-redis/redis"), Port(6379)],
            &[Module("github.com/redis/go-redis")],
            &[Module("github.com/go-redis/redis")],
            &[Go, Defaults],
            &[Go, Port(6379)],
        ],
        source: "source go-redis 8 options.go: KeepAlive of 5 minutes",
        ..ROW
    },
];

const PGX: [Client; 2] = library!(
    "pgx (PostgreSQL for Go)",
    "github.com/jackc/pgx",
    [5432],
    "config.ConnConfig.DialFunc = d.DialContext   // pgxpool.ParseConfig; without a pool: config.DialFunc",
    Some("pool.Ping(ctx) every {idle} s on each idle connection"),
    "source pgx 5.10 pgconn/config.go, makeDefaultDialer"
);

const PQ: [Client; 2] = library!(
    "lib/pq (PostgreSQL for Go)",
    "github.com/lib/pq",
    [5432],
    "// outside of the function:\n\
     type kept struct{ *net.Dialer }\n\
     func (k kept) DialTimeout(n, a string, _ time.Duration) (net.Conn, error) { return k.Dial(n, a) }\n\
     // in place of sql.Open:\n\
     connector, err := pq.NewConnector(dsn); connector.Dialer(kept{Dialer: d}); db := sql.OpenDB(connector)",
    Some("db.Ping() every {idle} s on each idle connection"),
    "source lib/pq 1.12 conn.go, defaultDialer, connector.go, Dialer"
);

const MYSQL: [Client; 2] = library!(
    "Go-MySQL-Driver",
    "github.com/go-sql-driver/mysql",
    [3306],
    "mysql.RegisterDialContext(\"kept\", func(ctx context.Context, addr string) (net.Conn, error) {\n    \
     return d.DialContext(ctx, \"tcp\", addr) })   // DSN: user@kept(host:3306)/db",
    Some("db.Ping() every {idle} s on each idle connection"),
    "source go-sql-driver/mysql 1.10 connector.go, driver.go, RegisterDialContext"
);

const MONGO: [Client; 2] = library!(
    "the MongoDB driver for Go",
    "go.mongodb.org/mongo-driver",
    [27017],
    "options.Client().SetDialer(d)",
    "source mongo-go-driver 2.8 mongo/options/clientoptions.go, SetDialer"
);

const AMQP: [Client; 2] = library!(
    "amqp091-go",
    "github.com/rabbitmq/amqp091-go",
    [5672, 5671],
    "amqp.DialConfig(url, amqp.Config{Dial: d.Dial})",
    Some("amqp.Config{Heartbeat: {idle} * time.Second}   // 10 s if it is not given"),
    "source amqp091-go 1.14 connection.go, Config.Dial, Heartbeat"
);

const NATS: [Client; 2] = library!(
    "nats.go",
    "github.com/nats-io/nats.go",
    [4222],
    "nats.SetCustomDialer(d)",
    Some("nats.PingInterval({idle} * time.Second)   // 2 min if it is not given"),
    "source nats.go 1.53 nats.go, SetCustomDialer, DefaultPingInterval"
);

const SARAMA: [Client; 2] = library!(
    "Sarama (Kafka for Go)",
    "github.com/IBM/sarama",
    [9092, 9093],
    "config.Net.Proxy.Enable = true; config.Net.Proxy.Dialer = d   // or, idle time only: config.Net.KeepAlive",
    "source sarama 1.60 config.go, getDialer"
);

const PAHO: [Client; 2] = library!(
    "Paho for Go",
    "github.com/eclipse/paho.mqtt.golang",
    [1883, 8883],
    "opts.SetDialer(d)",
    Some("opts.SetKeepAlive({idle} * time.Second)   // MQTT pings"),
    "source paho.mqtt.golang 1.5 options.go, SetDialer, SetKeepAlive"
);

const LDAP: [Client; 2] = library!(
    "go-ldap",
    "github.com/go-ldap/ldap",
    [389, 636],
    "ldap.DialURL(url, ldap.DialWithDialer(d))",
    "source go-ldap 3.4 v3/conn.go, DialWithDialer"
);

const GRPC: [Client; 2] = [
    Client {
        name: "grpc-go",
        versions: "with Go 1.23 and later",
        default: ON,
        how: How::Line(concat!(
            dialer!(),
            "\ngrpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {\n    \
             return d.DialContext(ctx, \"tcp\", addr) })"
        )),
        ping: Some(GRPC_PING),
        least_ping: 10,
        go: NEW,
        clues: &[&[Module("google.golang.org/grpc"), Set(ON)]],
        source: "source grpc-go 1.85 internal/tcp_keepalive_unix.go; keepalive/keepalive.go: at least 10 s",
        ..ROW
    },
    Client {
        name: "grpc-go",
        versions: "with Go before 1.23",
        default: ON,
        how: How::Line(concat!(
            old_dialer!(),
            "\ngrpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {\n    \
             return d.DialContext(ctx, \"tcp\", addr) })"
        )),
        ping: Some(GRPC_PING),
        least_ping: 10,
        go: OLD,
        clues: &[&[Module("google.golang.org/grpc"), Set(ON)]],
        source: "source grpc-go internal/tcp_keepalive_unix.go, from 1.60 on; keepalive/keepalive.go: at least 10 s",
        ..ROW
    },
];
