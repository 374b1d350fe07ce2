//! Proxies, shells and other machinery that opens connections.

use super::{
    Client,
    Clue::{Name, Port, Runtime},
    How, OFF, ON, ROW, on,
};

pub(super) const CLIENTS: &[Client] = &[
    Client {
        name: "the OpenSSH client",
        default: ON,
        how: How::System(Some("TCPKeepAlive yes")),
        ping: Some("ServerAliveInterval {idle}   (ssh_config: encrypted pings, better than TCP's)"),
        clues: &[&[Name("ssh")]],
        source: "traced; source openssh readconf.c",
        ..ROW
    },
    Client {
        name: "nginx, towards upstreams",
        default: OFF,
        how: How::System(Some("proxy_socket_keepalive on;   (also fastcgi_, grpc_, uwsgi_...)")),
        patience: Some("proxy_timeout (stream): raise it above the quiet time"),
        clues: &[&[Name("nginx")]],
        source: "source nginx ngx_http_proxy_module.c",
        ..ROW
    },
    Client {
        name: "HAProxy, towards servers",
        default: OFF,
        how: How::Line(
            "option srvtcpka\nsrvtcpka-idle {idle}s\nsrvtcpka-intvl {interval}s\nsrvtcpka-cnt {count}",
        ),
        patience: Some("timeout server, timeout tunnel: raise them above the quiet time"),
        user_timeout: Some("tcp-ut {timeout_ms}   (on the server line)"),
        clues: &[&[Name("haproxy")]],
        source: "source haproxy doc/configuration.txt",
        ..ROW
    },
    Client {
        name: "Envoy, towards upstreams (also Istio's)",
        default: OFF,
        how: How::Line(
            "upstream_connection_options: {tcp_keepalive: {keepalive_time: {idle},\n  \
             keepalive_interval: {interval}, keepalive_probes: {count}}}\n\
             # Istio: DestinationRule trafficPolicy.connectionPool.tcp.tcpKeepalive:\n\
             #   {time: {idle}s, interval: {interval}s, probes: {count}}",
        ),
        patience: Some("idle_timeout (tcp_proxy): raise it above the quiet time, or 0s"),
        clues: &[&[Name("envoy")]],
        source: "source envoy cluster.proto, address.proto; istio cluster.go",
        ..ROW
    },
    Client {
        name: "linkerd2-proxy",
        default: ON,
        how: How::Line("LINKERD2_PROXY_OUTBOUND_CONNECT_KEEPALIVE={idle_ms}ms"),
        leaves_interval: true,
        clues: &[&[Name("linkerd2-proxy")]],
        source: "source linkerd2-proxy app/src/env.rs",
        ..ROW
    },
    Client {
        name: "the kubelet and client-go",
        default: on(30, 15, 9),
        how: How::Line("net.Dialer{KeepAlive: {idle} * time.Second}"),
        ping: Some("HTTP2_READ_IDLE_TIMEOUT_SECONDS={idle} HTTP2_PING_TIMEOUT_SECONDS={interval}"),
        clues: &[&[Name("kubelet")], &[Name("kubectl")], &[Name("kube-proxy")]],
        source: "source client-go transport/cache.go, apimachinery http.go",
        ..ROW
    },
    Client {
        name: "rsyslog, which sends (omfwd)",
        versions: "8",
        how: How::Line(
            "action(type=\"omfwd\" ... KeepAlive=\"on\" KeepAlive.Time=\"{idle}\"\n       \
             KeepAlive.Interval=\"{interval}\" KeepAlive.Probes=\"{count}\")",
        ),
        clues: &[&[Name("rsyslogd")], &[Name("rs:main Q:Reg")]],
        source: "traced 8.2302; rsyslog.com, parameters omfwd KeepAlive.*",
        ..ROW
    },
    Client {
        name: "syslog-ng, which sends",
        versions: "3.4 and later",
        how: How::Line(
            "network(\"HOST\" so-keepalive(yes) tcp-keepalive-time({idle})\n        \
             tcp-keepalive-intvl({interval}) tcp-keepalive-probes({count}))",
        ),
        clues: &[&[Name("syslog-ng")]],
        source: "syslog-ng administration guide, network() destination options",
        ..ROW
    },
    Client {
        name: "lftp",
        versions: "4.9",
        default: ON,
        how: How::System(None),
        clues: &[&[Name("lftp")]],
        source: "traced 4.9.2: SO_KEEPALIVE, no times",
        ..ROW
    },
    Client {
        name: "ftplib of Python",
        versions: "3.11",
        how: How::Line(
            "ftp.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)   # after connect()\n\
             ftp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, {idle})\n\
             ftp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, {interval})\n\
             ftp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, {count})",
        ),
        ping: Some("ftp.voidcmd('NOOP') every {idle} s, not while a transfer runs"),
        clues: &[&[Runtime("python"), Port(21)]],
        source: "traced 3.11; source Lib/ftplib.py",
        ..ROW
    },
    Client {
        name: "wget",
        versions: "1.21",
        how: How::None,
        clues: &[&[Name("wget")]],
        source: "traced 1.21.3",
        ..ROW
    },
    Client {
        name: "rsync to a daemon",
        versions: "3.2",
        how: How::System(Some("rsync --sockopts=SO_KEEPALIVE rsync://...")),
        clues: &[&[Name("rsync")]],
        source: "rsync(1), --sockopts",
        ..ROW
    },
    Client {
        name: "stunnel, towards the server",
        versions: "5",
        how: How::Line(
            "socket = r:SO_KEEPALIVE=1\nsocket = r:TCP_KEEPIDLE={idle}\nsocket = r:TCP_KEEPINTVL={interval}\n\
             socket = r:TCP_KEEPCNT={count}",
        ),
        clues: &[&[Name("stunnel")]],
        source: "stunnel(8), socket =",
        ..ROW
    },
    Client {
        name: "PgBouncer, towards the server",
        versions: "1.x",
        default: ON,
        how: How::Line(
            "tcp_keepalive = 1\ntcp_keepidle = {idle}\ntcp_keepintvl = {interval}\ntcp_keepcnt = {count}   (pgbouncer.ini)",
        ),
        ping: Some("server_idle_timeout = {idle}   (closes idle connections before the path does)"),
        user_timeout: Some("tcp_user_timeout = {timeout_ms}   (pgbouncer.ini)"),
        clues: &[&[Name("pgbouncer")]],
        source: "pgbouncer.org/config.html",
        ..ROW
    },
    Client {
        name: "slapd, which replicates",
        versions: "2.4.33 and later",
        default: ON,
        how: How::Line(
            "keepalive={idle}:{count}:{interval}   (in syncrepl: idle, probes, interval)",
        ),
        clues: &[&[Name("slapd")]],
        source: "slapd.conf(5), syncrepl",
        ..ROW
    },
    Client {
        name: "Apache httpd, towards backends",
        versions: "2.4",
        how: How::System(Some("ProxyPass \"/\" \"http://backend/\" keepalive=On")),
        ping: Some(
            "ttl={idle}   (ProxyPass: closes idle backend connections before the path does)",
        ),
        clues: &[&[Name("apache2")], &[Name("httpd")]],
        source: "httpd.apache.org, mod_proxy, ProxyPass keepalive, ttl",
        ..ROW
    },
    Client {
        name: "OpenVPN over TCP",
        versions: "2",
        how: How::None,
        ping: Some("keepalive {interval} {idle}   (a ping each {interval} s)"),
        clues: &[&[Name("openvpn")]],
        source: "openvpn(8), --keepalive",
        ..ROW
    },
];
