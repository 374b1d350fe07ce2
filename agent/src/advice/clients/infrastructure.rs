//! Proxies, shells and other machinery.

use super::{
    Client,
    Clue::{Inbound, Name, Outbound},
    How, OFF, ON, on,
};

pub(super) const CLIENTS: &[Client] = &[
    Client {
        name: "the OpenSSH client",
        versions: "",
        default: ON,
        how: How::System(Some("TCPKeepAlive yes")),
        ping: Some("ServerAliveInterval {idle}   (ssh_config: encrypted pings, better than TCP's)"),
        clues: &[&[Name("ssh")]],
        source: "traced; source openssh readconf.c",
    },
    Client {
        name: "the OpenSSH server",
        versions: "",
        default: ON,
        how: How::System(Some("TCPKeepAlive yes")),
        ping: Some(
            "ClientAliveInterval {idle}   (sshd_config: encrypted pings, better than TCP's)",
        ),
        clues: &[&[Name("sshd")], &[Name("sshd-session")]],
        source: "source openssh servconf.c",
    },
    Client {
        name: "nginx, towards clients",
        versions: "",
        default: OFF,
        how: How::Line("listen 443 ssl so_keepalive={idle}s:{interval}s:{count};"),
        ping: Some("keepalive_timeout, proxy_timeout (stream): raise them above the quiet time"),
        clues: &[&[Name("nginx"), Inbound]],
        source: "source nginx ngx_http_core_module.c",
    },
    Client {
        name: "nginx, towards upstreams",
        versions: "",
        default: OFF,
        how: How::System(Some("proxy_socket_keepalive on;   (also fastcgi_, grpc_, uwsgi_...)")),
        ping: Some("proxy_timeout (stream): raise it above the quiet time"),
        clues: &[&[Name("nginx"), Outbound]],
        source: "source nginx ngx_http_proxy_module.c",
    },
    Client {
        name: "HAProxy, towards clients",
        versions: "",
        default: OFF,
        how: How::Line(
            "option clitcpka\nclitcpka-idle {idle}s\nclitcpka-intvl {interval}s\nclitcpka-cnt {count}",
        ),
        ping: Some("timeout client, timeout tunnel: raise them above the quiet time"),
        clues: &[&[Name("haproxy"), Inbound]],
        source: "source haproxy doc/configuration.txt",
    },
    Client {
        name: "HAProxy, towards servers",
        versions: "",
        default: OFF,
        how: How::Line(
            "option srvtcpka\nsrvtcpka-idle {idle}s\nsrvtcpka-intvl {interval}s\nsrvtcpka-cnt {count}",
        ),
        ping: Some("timeout server, timeout tunnel: raise them above the quiet time"),
        clues: &[&[Name("haproxy"), Outbound]],
        source: "source haproxy doc/configuration.txt",
    },
    Client {
        name: "Envoy (also Istio's)",
        versions: "",
        default: OFF,
        how: How::Line(
            "upstream_connection_options: {tcp_keepalive: {keepalive_time: {idle},\n  \
             keepalive_interval: {interval}, keepalive_probes: {count}}}\n\
             # Istio: DestinationRule trafficPolicy.connectionPool.tcp.tcpKeepalive:\n\
             #   {time: {idle}s, interval: {interval}s, probes: {count}}",
        ),
        ping: Some("idle_timeout (tcp_proxy): raise it above the quiet time, or 0s"),
        clues: &[&[Name("envoy")]],
        source: "source envoy cluster.proto, address.proto; istio cluster.go",
    },
    Client {
        name: "linkerd2-proxy",
        versions: "",
        default: ON,
        how: How::Line("LINKERD2_PROXY_OUTBOUND_CONNECT_KEEPALIVE={idle_ms}ms"),
        ping: None,
        clues: &[&[Name("linkerd2-proxy")]],
        source: "source linkerd2-proxy app/src/env.rs",
    },
    Client {
        name: "the kubelet and client-go",
        versions: "",
        default: on(30, 15, 9),
        how: How::Line("net.Dialer{KeepAlive: {idle} * time.Second}"),
        ping: Some("HTTP2_READ_IDLE_TIMEOUT_SECONDS=30 HTTP2_PING_TIMEOUT_SECONDS=15"),
        clues: &[&[Name("kubelet")], &[Name("kubectl")], &[Name("kube-proxy")]],
        source: "source client-go transport/cache.go, apimachinery http.go",
    },
    Client {
        name: "systemd's socket activation",
        versions: "252",
        default: OFF,
        how: How::Line(
            "[Socket]\nKeepAlive=yes\nKeepAliveTimeSec={idle}\nKeepAliveIntervalSec={interval}\n\
             KeepAliveProbes={count}",
        ),
        ping: None,
        clues: &[&[Name("systemd"), Inbound]],
        source: "systemd.socket(5)",
    },
];
