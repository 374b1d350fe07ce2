//! Servers: programs whose own options decide about the connections that they accept.

use super::{
    Client,
    Clue::{Name, Port, Runtime, SocketActivated, Values as Set},
    How, OFF, ON, ROW, on,
};

pub(super) const SERVERS: &[Client] = &[
    Client {
        name: "the PostgreSQL server",
        default: ON,
        how: How::Line(
            "ALTER SYSTEM SET tcp_keepalives_idle = {idle};\n\
             ALTER SYSTEM SET tcp_keepalives_interval = {interval};\n\
             ALTER SYSTEM SET tcp_keepalives_count = {count}; SELECT pg_reload_conf();",
        ),
        user_timeout: Some(
            "ALTER SYSTEM SET tcp_user_timeout = {timeout_ms}; SELECT pg_reload_conf();",
        ),
        clues: &[&[Name("postgres")]],
        source: "source postgres src/backend/libpq/pqcomm.c",
        ..ROW
    },
    Client {
        name: "the MySQL or MariaDB server",
        default: ON,
        how: How::System(None),
        clues: &[&[Name("mysqld")], &[Name("mariadbd")]],
        source: "source vio_keepalive",
        ..ROW
    },
    Client {
        name: "the Redis server",
        versions: "3.2.1 and later",
        default: on(300, 100, 3),
        how: How::Line(
            "tcp-keepalive {idle}   (redis.conf; also CONFIG SET; interval is a third of it, 3 probes)",
        ),
        clues: &[&[Name("redis-server")], &[Name("valkey-server")], &[Set(on(300, 100, 3))]],
        source: "traced 7.0; source redis.conf, src/anet.c",
        ..ROW
    },
    Client {
        name: "the RabbitMQ server",
        default: OFF,
        how: How::System(Some("tcp_listen_options.keepalive = true")),
        ping: Some("heartbeat = {idle}   (rabbitmq.conf; the client must agree)"),
        clues: &[&[Runtime("beam.smp"), Port(5672)], &[Runtime("beam.smp"), Port(5671)]],
        source: "source rabbitmq.conf.example",
        ..ROW
    },
    Client {
        name: "the OpenSSH server",
        default: ON,
        how: How::System(Some("TCPKeepAlive yes")),
        ping: Some(
            "ClientAliveInterval {idle}   (sshd_config: encrypted pings, better than TCP's)",
        ),
        clues: &[&[Name("sshd")], &[Name("sshd-session")]],
        source: "source openssh servconf.c",
        ..ROW
    },
    Client {
        name: "nginx, towards clients",
        default: OFF,
        how: How::Line("listen 443 ssl so_keepalive={idle}s:{interval}s:{count};"),
        patience: Some(
            "keepalive_timeout, proxy_timeout (stream): raise them above the quiet time",
        ),
        clues: &[&[Name("nginx")]],
        source: "source nginx ngx_http_core_module.c",
        ..ROW
    },
    Client {
        name: "HAProxy, towards clients",
        default: OFF,
        how: How::Line(
            "option clitcpka\nclitcpka-idle {idle}s\nclitcpka-intvl {interval}s\nclitcpka-cnt {count}",
        ),
        patience: Some("timeout client, timeout tunnel: raise them above the quiet time"),
        user_timeout: Some("tcp-ut {timeout_ms}   (on the bind line)"),
        clues: &[&[Name("haproxy")]],
        source: "source haproxy doc/configuration.txt",
        ..ROW
    },
    Client {
        name: "Envoy, towards clients (also Istio's)",
        versions: "1.x",
        how: How::Line(
            "socket_options:   # of the Listener\n\
             - {level: 1, name: 9, int_value: 1, state: STATE_PREBIND}   # SO_KEEPALIVE\n\
             - {level: 6, name: 4, int_value: {idle}, state: STATE_PREBIND}   # TCP_KEEPIDLE\n\
             - {level: 6, name: 5, int_value: {interval}, state: STATE_PREBIND}   # TCP_KEEPINTVL\n\
             - {level: 6, name: 6, int_value: {count}, state: STATE_PREBIND}   # TCP_KEEPCNT",
        ),
        patience: Some("idle_timeout (tcp_proxy): raise it above the quiet time, or 0s"),
        clues: &[&[Name("envoy")]],
        source: "envoyproxy.io, api-v3 config.listener.v3.Listener socket_options",
        ..ROW
    },
    Client {
        name: "systemd, which made the listening socket",
        versions: "252",
        default: OFF,
        how: How::Line(
            "[Socket]\nKeepAlive=yes\nKeepAliveTimeSec={idle}\nKeepAliveIntervalSec={interval}\n\
             KeepAliveProbes={count}\n\
             # systemctl edit NAME.socket; then systemctl restart NAME.socket",
        ),
        clues: &[
            &[SocketActivated],
            &[Name("systemd-socket-proxyd")],
            &[Name("systemd-socket-")],
            &[Name("systemd")],
        ],
        source: "systemd.socket(5)",
        ..ROW
    },
    Client {
        name: "rsyslog, which receives (imtcp)",
        versions: "8",
        how: How::Line(
            "input(type=\"imtcp\" ... KeepAlive=\"on\" KeepAlive.Time=\"{idle}\"\n      KeepAlive.Interval=\"{interval}\" KeepAlive.Probes=\"{count}\")",
        ),
        clues: &[&[Name("rsyslogd")], &[Name("in:imtcp")], &[Name("in:imptcp")]],
        source: "rsyslog.com, parameters imtcp KeepAlive.*; issues rsyslog/rsyslog#1254",
        ..ROW
    },
    Client {
        name: "syslog-ng, which receives",
        versions: "3.4 and later",
        how: How::Line(
            "network(so-keepalive(yes) tcp-keepalive-time({idle})\n        tcp-keepalive-intvl({interval}) tcp-keepalive-probes({count}))",
        ),
        clues: &[&[Name("syslog-ng")]],
        source: "syslog-ng administration guide, network() source options",
        ..ROW
    },
    Client {
        name: "slapd",
        versions: "2.4 and later",
        default: ON,
        how: How::System(None),
        ping: Some("idletimeout {idle}   (closes idle clients before the path does)"),
        clues: &[&[Name("slapd")]],
        source: "source openldap servers/slapd/daemon.c",
        ..ROW
    },
    Client {
        name: "PgBouncer, towards clients",
        versions: "1.x",
        default: ON,
        how: How::Line(
            "tcp_keepalive = 1\ntcp_keepidle = {idle}\ntcp_keepintvl = {interval}\ntcp_keepcnt = {count}   (pgbouncer.ini)",
        ),
        ping: Some("client_idle_timeout = {idle}   (closes idle clients before the path does)"),
        user_timeout: Some("tcp_user_timeout = {timeout_ms}   (pgbouncer.ini)"),
        clues: &[&[Name("pgbouncer")]],
        source: "pgbouncer.org/config.html",
        ..ROW
    },
    Client {
        name: "the MongoDB server",
        versions: "4 and later",
        default: on(120, 10, 0),
        how: How::System(None),
        clues: &[&[Name("mongod")], &[Name("mongos")]],
        source: "source mongo src/mongo/util/net/socket_utils.cpp, setSocketKeepAliveParams: the system's times up to 120 s",
        ..ROW
    },
    Client {
        name: "memcached",
        versions: "1.5 and later",
        default: ON,
        how: How::System(None),
        ping: Some("memcached -o idle_timeout={idle}   (closes idle clients before the path does)"),
        clues: &[&[Name("memcached")]],
        source: "source memcached.c, server_socket: SO_KEEPALIVE",
        ..ROW
    },
    Client {
        name: "the Kafka broker",
        versions: "2 and later",
        default: ON,
        how: How::System(None),
        ping: Some(
            "connections.max.idle.ms={idle_ms}   (server.properties: closes idle clients before the path does)",
        ),
        clues: &[&[Runtime("java"), Port(9092)], &[Runtime("java"), Port(9093)]],
        source: "source kafka core/src/main/scala/kafka/network/SocketServer.scala, setKeepAlive(true)",
        ..ROW
    },
    Client {
        name: "Elasticsearch or OpenSearch",
        versions: "7 and later",
        default: ON,
        how: How::Line(
            "network.tcp.keep_alive: true\nnetwork.tcp.keep_idle: {idle}\nnetwork.tcp.keep_interval: {interval}\nnetwork.tcp.keep_count: {count}   (elasticsearch.yml)",
        ),
        ping: Some("transport.ping_schedule: {idle}s   (between nodes)"),
        clues: &[&[Runtime("java"), Port(9200)], &[Runtime("java"), Port(9300)]],
        source: "elastic.co, networking settings, network.tcp.keep_idle",
        ..ROW
    },
    Client {
        name: "Samba",
        versions: "4",
        how: How::Line(
            "socket options = SO_KEEPALIVE TCP_KEEPIDLE={idle} TCP_KEEPINTVL={interval} TCP_KEEPCNT={count}",
        ),
        ping: Some("keepalive = {idle}   (smb.conf: SMB pings)"),
        clues: &[&[Name("smbd")]],
        source: "smb.conf(5), socket options",
        ..ROW
    },
    Client {
        name: "ProFTPD",
        versions: "1.3",
        default: ON,
        how: How::Line("SocketOptions keepalive on:{idle}:{count}:{interval}"),
        clues: &[&[Name("proftpd")]],
        source: "proftpd.org, mod_core SocketOptions: idle, count, interval",
        ..ROW
    },
    Client {
        name: "vsftpd",
        versions: "3",
        default: ON,
        how: How::System(None),
        clues: &[&[Name("vsftpd")]],
        source: "source vsftpd standalone.c, vsf_sysutil_activate_keepalive",
        ..ROW
    },
    Client {
        name: "stunnel, towards clients",
        versions: "5",
        how: How::Line(
            "socket = a:SO_KEEPALIVE=1\nsocket = l:SO_KEEPALIVE=1\nsocket = l:TCP_KEEPIDLE={idle}\nsocket = l:TCP_KEEPINTVL={interval}\nsocket = l:TCP_KEEPCNT={count}",
        ),
        clues: &[&[Name("stunnel")]],
        source: "stunnel(8), socket =",
        ..ROW
    },
    Client {
        name: "Squid",
        versions: "4 and later",
        how: How::Line("http_port 3128 tcpkeepalive={idle},{interval},{count}"),
        clues: &[&[Name("squid")]],
        source: "squid-cache.org, http_port tcpkeepalive=idle,interval,timeout",
        ..ROW
    },
    Client {
        name: "Apache httpd",
        versions: "2.4",
        default: ON,
        how: How::System(None),
        ping: Some("KeepAliveTimeout {idle}   (closes idle clients before the path does)"),
        clues: &[&[Name("apache2")], &[Name("httpd")]],
        source: "source httpd server/listen.c: SO_KEEPALIVE on each listener",
        ..ROW
    },
    Client {
        name: "Dropbear",
        versions: "2012 and later",
        how: How::None,
        ping: Some("dropbear -K {idle}   (encrypted pings)"),
        clues: &[&[Name("dropbear")]],
        source: "dropbear(8), -K",
        ..ROW
    },
    Client {
        name: "Mosquitto",
        versions: "2",
        how: How::None,
        ping: Some("max_keepalive {idle}   (mosquitto.conf: MQTT 5 clients must ping as often)"),
        clues: &[&[Name("mosquitto")]],
        source: "mosquitto.conf(5), max_keepalive",
        ..ROW
    },
    Client {
        name: "OpenVPN over TCP, towards clients",
        versions: "2",
        how: How::None,
        ping: Some("keepalive {interval} {idle}   (a ping each {interval} s)"),
        clues: &[&[Name("openvpn")]],
        source: "openvpn(8), --keepalive",
        ..ROW
    },
];
