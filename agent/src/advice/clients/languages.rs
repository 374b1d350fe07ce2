//! Languages, runtimes and HTTP clients.

use super::{
    Client,
    Clue::{Defaults, Go, Library, Name, Outbound, Port, Values as Set},
    How, OFF, on,
};
use crate::model::observed::setting::OwnValues;

/// libuv sets interval and count with every idle time (traced, Node 20.20).
const fn libuv(idle: u32) -> OwnValues {
    on(idle, 1, 10)
}

const REQWEST: OwnValues = OwnValues { user_timeout_ms: 30_000, ..on(15, 15, 3) };

pub(super) const CLIENTS: &[Client] = &[
    Client {
        name: "curl",
        versions: "7.88 and later; --keepalive-cnt from 8.9",
        default: on(60, 60, 0),
        how: How::Line("curl --keepalive-time {idle} --keepalive-cnt {count} ..."),
        ping: None,
        clues: &[&[Name("curl")], &[Name("curl"), Library("/libcurl")]],
        source: "traced 7.88.1; source curl docs/cmdline-opts/keepalive-*.md",
    },
    Client {
        name: "Python with asyncpg",
        versions: "0.32",
        default: OFF,
        how: How::Line(
            "await asyncpg.connect(..., server_settings={  # the server probes then\n    'tcp_keepalives_idle': '{idle}', \
             'tcp_keepalives_interval': '{interval}',\n    'tcp_keepalives_count': '{count}'})",
        ),
        ping: Some("pool.execute('SELECT 1') every {idle} s on each idle connection"),
        clues: &[&[Name("python"), Library("/asyncpg/"), Port(5432)]],
        source: "traced 0.32; source asyncpg",
    },
    Client {
        name: "Python with aiohttp",
        versions: "3.14",
        default: OFF,
        how: How::Line(
            "def keepalive_socket(info):\n    s = socket.socket(*info[:3])\n    \
             s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)\n    \
             s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, {idle})\n    \
             s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, {interval})\n    \
             s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, {count})\n    return s\n\
             aiohttp.TCPConnector(socket_factory=keepalive_socket)",
        ),
        ping: Some("ClientSession.ws_connect(url, heartbeat={idle})  # WebSockets only"),
        clues: &[&[Name("python"), Library("/aiohttp/"), Outbound]],
        source: "traced 3.14; source aiohttp docs/client_advanced.rst",
    },
    Client {
        name: "Python with requests or urllib3",
        versions: "requests 2.34, urllib3 2.8",
        default: OFF,
        how: How::Line(
            "O = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),\n     \
             (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, {idle}),\n     \
             (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, {interval}),\n     \
             (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, {count})]\n\
             class Keepalive(requests.adapters.HTTPAdapter):\n    \
             def init_poolmanager(self, *a, **k):\n        \
             o = urllib3.connection.HTTPConnection.default_socket_options\n        \
             super().init_poolmanager(*a, socket_options=o + O, **k)\n\
             session.mount('https://', Keepalive())\n\
             # httpx: httpx.Client(transport=httpx.HTTPTransport(socket_options=O))",
        ),
        ping: None,
        clues: &[
            &[Name("python"), Port(443), Outbound],
            &[Name("python"), Port(80), Outbound],
            &[Name("python"), Port(8080), Outbound],
            &[Name("python"), Port(8443), Outbound],
            &[Name("python"), Port(9200), Outbound],
        ],
        source: "traced requests 2.34, urllib3 2.8, httpx 0.28; source urllib3 connection.py",
    },
    Client {
        name: "Python sockets, http.client and what is built on them",
        versions: "3.11",
        default: OFF,
        how: How::Line(
            "s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)\n\
             s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, {idle})\n\
             s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, {interval})\n\
             s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, {count})",
        ),
        ping: None,
        clues: &[&[Name("python")]],
        source: "traced 3.11",
    },
    Client {
        name: "Node's http.Agent",
        versions: "20.20",
        default: libuv(1),
        how: How::Line("new http.Agent({ keepAlive: true, keepAliveMsecs: {idle_ms} })"),
        ping: None,
        clues: &[&[Name("node"), Set(libuv(1))], &[Set(libuv(1))]],
        source: "traced 20.20",
    },
    Client {
        name: "Node's fetch, undici or axios",
        versions: "Node 20.20, undici 7.30, axios 1.21",
        default: libuv(60),
        how: How::Line(
            "setGlobalDispatcher(new Agent({ connect: { keepAlive: true,\n    \
             keepAliveInitialDelay: {idle_ms} } }))  // undici",
        ),
        ping: None,
        clues: &[
            &[Name("node"), Set(libuv(60)), Port(443)],
            &[Name("node"), Set(libuv(60)), Port(80)],
        ],
        source: "traced",
    },
    Client {
        name: "Node's net.connect and what is built on it",
        versions: "20.20",
        default: OFF,
        how: How::Line(
            "socket.setKeepAlive(true, {idle_ms})  // libuv adds: interval 1 s, 10 probes",
        ),
        ping: None,
        clues: &[&[Name("node")], &[Library("/libnode.so")]],
        source: "traced 20.20",
    },
    Client {
        name: "Go's net.Dialer",
        versions: "1.23 and later",
        default: on(15, 15, 9),
        how: How::Line(GO_DIALER),
        ping: None,
        clues: &[&[Go, Defaults], &[Go], &[Set(on(15, 15, 9))]],
        source: "traced go1.27.3; go.dev/doc/go1.23",
    },
    Client {
        name: "Go's http.DefaultTransport",
        versions: "1.23 and later",
        default: on(30, 15, 9),
        how: How::Line(
            "&http.Transport{DialContext: (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{\n    \
             Enable: true, Idle: {idle} * time.Second, Interval: {interval} * time.Second,\n    \
             Count: {count}}}).DialContext}",
        ),
        ping: Some("http2.Transport{ReadIdleTimeout: {idle} * time.Second}  // HTTP/2 PING"),
        clues: &[&[Go, Defaults], &[Set(on(30, 15, 9))]],
        source: "traced go1.27.3",
    },
    Client {
        name: "Go's net.Dialer",
        versions: "1.13 to 1.22",
        default: on(15, 15, 0),
        how: How::Line(
            "net.Dialer{KeepAlive: {idle} * time.Second}  // the interval too; KeepAliveConfig from 1.23",
        ),
        ping: None,
        clues: &[&[Go, Defaults], &[Go, Set(on(30, 30, 0))]],
        source: "traced go1.19",
    },
    Client {
        name: "Go with keepalive switched off (KeepAlive: -1, or grpc-go's)",
        versions: "",
        default: OFF,
        how: How::Line(GO_DIALER),
        ping: Some(
            "grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second,\n    \
             Timeout: 10 * time.Second, PermitWithoutStream: true})",
        ),
        clues: &[&[Go, Set(OFF)]],
        source: "traced go1.27.3; source grpc-go internal/tcp_keepalive_unix.go",
    },
    Client {
        name: "Java sockets and HttpClient",
        versions: "17; the options from JDK 11",
        default: OFF,
        how: How::Line(
            "s.setKeepAlive(true); s.setOption(ExtendedSocketOptions.TCP_KEEPIDLE, {idle});\n\
             s.setOption(ExtendedSocketOptions.TCP_KEEPINTERVAL, {interval});\n\
             s.setOption(ExtendedSocketOptions.TCP_KEEPCOUNT, {count});  // jdk.net",
        ),
        ping: Some(
            "OkHttp: OkHttpClient.Builder().pingInterval(30, SECONDS)  // HTTP/2, WebSocket",
        ),
        clues: &[&[Name("java")], &[Library("/libjvm.so")]],
        source: "traced 17",
    },
    Client {
        name: "Netty with its epoll transport",
        versions: "4",
        default: OFF,
        how: How::Line(
            "bootstrap.option(ChannelOption.SO_KEEPALIVE, true)\n    \
             .option(EpollChannelOption.TCP_KEEPIDLE, {idle})\n    \
             .option(EpollChannelOption.TCP_KEEPINTVL, {interval})\n    \
             .option(EpollChannelOption.TCP_KEEPCNT, {count})",
        ),
        ping: None,
        clues: &[&[Library("netty_transport_native_epoll")], &[Library("libnetty_transport")]],
        source: "source netty EpollChannelOption.java",
    },
    Client {
        name: ".NET with Npgsql",
        versions: "",
        default: OFF,
        how: How::Line(
            "Tcp Keepalive=true;Tcp Keepalive Time={idle};Tcp Keepalive Interval={interval}",
        ),
        ping: Some("Keepalive=30  # in the connection string: a query every 30 s"),
        clues: &[&[Library("/Npgsql.dll"), Port(5432)]],
        source: "source npgsql doc connection-string-parameters.md",
    },
    Client {
        name: ".NET HttpClient and sockets",
        versions: "5 and later",
        default: OFF,
        how: How::Line(
            "new SocketsHttpHandler { ConnectCallback = async (c, t) => {\n    \
             var s = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };\n    \
             s.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);\n    \
             s.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, {idle});\n    \
             s.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, {interval});\n    \
             s.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, {count});\n    \
             await s.ConnectAsync(c.DnsEndPoint, t); return new NetworkStream(s, true); } }",
        ),
        ping: Some(
            "SocketsHttpHandler.KeepAlivePingDelay = TimeSpan.FromSeconds({idle})  // HTTP/2",
        ),
        clues: &[&[Library("/libcoreclr.so")], &[Name("dotnet")]],
        source: "issues dotnet/runtime#77755, #61261",
    },
    Client {
        name: "Ruby sockets and Net::HTTP",
        versions: "3.1",
        default: OFF,
        how: How::Line(
            "s.setsockopt(Socket::SOL_SOCKET, Socket::SO_KEEPALIVE, true)\n\
             s.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_KEEPIDLE, {idle})\n\
             s.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_KEEPINTVL, {interval})\n\
             s.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_KEEPCNT, {count})",
        ),
        ping: None,
        clues: &[&[Name("ruby")], &[Library("/libruby")]],
        source: "traced 3.1",
    },
    Client {
        name: "PHP streams",
        versions: "8.2",
        default: OFF,
        how: How::Line(
            "$s = socket_import_stream($f); socket_set_option($s, SOL_SOCKET, SO_KEEPALIVE, 1);\n\
             socket_set_option($s, SOL_TCP, TCP_KEEPIDLE, {idle});\n\
             socket_set_option($s, SOL_TCP, TCP_KEEPINTVL, {interval});\n\
             socket_set_option($s, SOL_TCP, TCP_KEEPCNT, {count});  // ext-sockets",
        ),
        ping: None,
        clues: &[&[Name("php")], &[Name("php-fpm")], &[Library("/libphp")]],
        source: "traced 8.2",
    },
    Client {
        name: "reqwest",
        versions: "0.12.23 and later",
        default: REQWEST,
        how: How::Line(
            ".tcp_keepalive(Some(Duration::from_secs({idle})))\n\
             .tcp_keepalive_interval(Some(Duration::from_secs({interval})))\n\
             .tcp_keepalive_retries(Some({count}))\n\
             .tcp_user_timeout(Some(Duration::from_millis({timeout_ms})))",
        ),
        ping: Some(".http2_keep_alive_interval(Some(Duration::from_secs({idle})))"),
        clues: &[&[Set(REQWEST)]],
        source: "source reqwest client.rs, CHANGELOG 0.12.23",
    },
    Client {
        name: "gRPC core (Python, C++, Ruby, PHP)",
        versions: "grpcio 1.85",
        default: OFF,
        how: How::System(None),
        ping: Some("grpc.keepalive_time_ms={idle_ms}, grpc.keepalive_timeout_ms=10000"),
        clues: &[&[Library("/cygrpc")], &[Library("/libgrpc.so")], &[Library("/grpc_c.so")]],
        source: "traced grpcio 1.85",
    },
    Client {
        name: "a program with libcurl",
        versions: "TCP_KEEPCNT from 8.9",
        default: OFF,
        how: How::Line(
            "curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);\n\
             curl_easy_setopt(h, CURLOPT_TCP_KEEPIDLE, {idle}L);\n\
             curl_easy_setopt(h, CURLOPT_TCP_KEEPINTVL, {interval}L);\n\
             curl_easy_setopt(h, CURLOPT_TCP_KEEPCNT, {count}L);",
        ),
        ping: None,
        clues: &[
            &[Library("/libcurl"), Port(443), Outbound],
            &[Library("/libcurl"), Port(80), Outbound],
            &[Library("/libcurl"), Set(on(60, 60, 9))],
        ],
        source: "source curl lib/url.c, CURLOPT_TCP_KEEPALIVE.md",
    },
];

const GO_DIALER: &str = "net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true,\n    \
    Idle: {idle} * time.Second, Interval: {interval} * time.Second, Count: {count}}}";
