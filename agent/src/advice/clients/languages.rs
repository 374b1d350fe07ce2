//! Languages, runtimes and HTTP clients.

use super::{
    Client,
    Clue::{Library, Loaded, Name, Port, Repeats, Runtime, Values as Set, VirtualMachine},
    How, OFF, ROW, on,
};
use crate::model::observed::setting::OwnValues;

/// libuv sets interval and count with every idle time (traced, Node 20.20).
const fn libuv(idle: u32) -> OwnValues {
    on(idle, 1, 10)
}

const REQWEST: OwnValues = OwnValues { user_timeout_ms: 30_000, ..on(15, 15, 3) };

/// Sockets between nodes are the runtime's own.
pub(super) const ERLANG_TICKS: &str = "between nodes: erl -kernel net_ticktime N   % the same N on all; a tick each N/4 s, so N/4 at most {idle}";

pub(super) const CLIENTS: &[Client] = &[
    Client {
        name: "curl",
        versions: "7.88 and later; --keepalive-cnt from 8.9",
        default: on(60, 60, 0),
        how: How::Line(
            "curl --keepalive-time {idle} ...   # sets the interval, too; from 8.9 also --keepalive-cnt {count}",
        ),
        clues: &[&[Name("curl")], &[Name("curl"), Library("/libcurl")]],
        source: "traced 7.88.1, which refuses --keepalive-cnt; source curl docs/cmdline-opts/keepalive-*.md",
        ..ROW
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
        clues: &[
            &[Runtime("python"), Loaded("/aiohttp/"), Port(443)],
            &[Runtime("python"), Loaded("/aiohttp/"), Port(80)],
            &[Runtime("python"), Loaded("/aiohttp/"), Port(8080)],
            &[Runtime("python"), Loaded("/aiohttp/")],
        ],
        source: "traced 3.14; source aiohttp docs/client_advanced.rst",
        ..ROW
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
             for scheme in ('http://', 'https://'): session.mount(scheme, Keepalive())\n\
             # httpx: httpx.Client(transport=httpx.HTTPTransport(socket_options=O))",
        ),
        user_timeout: Some(
            "(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, {timeout_ms})   # one more of the socket_options",
        ),
        clues: &[
            &[Runtime("python"), Port(443)],
            &[Runtime("python"), Port(80)],
            &[Runtime("python"), Port(8080)],
            &[Runtime("python"), Port(8443)],
            &[Runtime("python"), Port(9200)],
        ],
        source: "traced requests 2.34, urllib3 2.8, httpx 0.28; source urllib3 connection.py",
        ..ROW
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
        user_timeout: Some(
            "s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, {timeout_ms})",
        ),
        clues: &[&[Runtime("python")]],
        source: "traced 3.11",
        ..ROW
    },
    Client {
        name: "Node's http.Agent",
        versions: "20.20",
        default: libuv(1),
        how: How::Line("new http.Agent({ keepAlive: true, keepAliveMsecs: {idle_ms} })"),
        clues: &[&[Runtime("node"), Set(libuv(1))], &[Runtime("node"), Repeats(1, 10)]],
        source: "traced 20.20",
        ..ROW
    },
    Client {
        name: "Node's fetch or undici",
        versions: "Node 20.20, undici 7.30",
        default: libuv(60),
        how: How::Line(
            "setGlobalDispatcher(new Agent({ connect: { keepAlive: true,\n    \
             keepAliveInitialDelay: {idle_ms} } }))  // undici; or of the Agent that is passed as dispatcher",
        ),
        // On any port, unless that of another protocol.
        clues: &[&[Runtime("node"), Set(libuv(60)), Repeats(1, 10)]],
        source: "traced; undici lib/core/connect.js: keepAliveInitialDelay 60e3",
        ..ROW
    },
    Client {
        name: "axios",
        versions: "1.21",
        default: libuv(60),
        how: How::Line(
            "axios.create({ adapter: 'fetch' }), and for that: setGlobalDispatcher(new Agent({ connect: {\n    \
             keepAlive: true, keepAliveInitialDelay: {idle_ms} } }))  // undici; axios overrides what an http.Agent sets",
        ),
        clues: &[&[Runtime("node"), Set(libuv(60)), Repeats(1, 10)]],
        source: "traced; axios lib/adapters/http.js: socket.setKeepAlive(true, 1000 * 60)",
        ..ROW
    },
    Client {
        name: "Node's net.connect and what is built on it",
        versions: "20.20",
        default: OFF,
        how: How::Line(
            "socket.setKeepAlive(true, {idle_ms})  // libuv adds: interval 1 s, 10 probes",
        ),
        clues: &[&[Runtime("node")], &[VirtualMachine("/libnode.so")]],
        source: "traced 20.20",
        ..ROW
    },
    Client {
        name: "Java's HttpClient",
        versions: "17; 11 and later",
        default: OFF,
        how: How::Line(
            "-Djdk.httpclient.keepalive.timeout={idle}   (seconds: its pool closes idle connections before the path does;\n\
             no option reaches its sockets, so a request that takes longer is not helped)",
        ),
        clues: &[
            &[Runtime("java"), Port(443)],
            &[Runtime("java"), Port(80)],
            &[Runtime("java"), Port(8080)],
            &[Runtime("java"), Port(8443)],
        ],
        source: "traced 17; docs.oracle.com, java.net.http module properties, jdk.httpclient.keepalive.timeout",
        ..ROW
    },
    Client {
        name: "Java sockets",
        versions: "17; the options from JDK 11",
        default: OFF,
        how: How::Line(
            "s.setKeepAlive(true); s.setOption(ExtendedSocketOptions.TCP_KEEPIDLE, {idle});\n\
             s.setOption(ExtendedSocketOptions.TCP_KEEPINTERVAL, {interval});\n\
             s.setOption(ExtendedSocketOptions.TCP_KEEPCOUNT, {count});  // jdk.net",
        ),
        ping: Some(
            "send something of your protocol at least every {idle} s while idle\n\
             (OkHttp: OkHttpClient.Builder().pingInterval({idle}, SECONDS) for HTTP/2 and WebSockets)",
        ),
        clues: &[&[Runtime("java")], &[VirtualMachine("/libjvm.so")]],
        source: "traced 17",
        ..ROW
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
        user_timeout: Some("bootstrap.option(EpollChannelOption.TCP_USER_TIMEOUT, {timeout_ms})"),
        clues: &[&[Library("netty_transport_native_epoll")], &[Library("libnetty_transport")]],
        source: "source netty EpollChannelOption.java",
        ..ROW
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
        clues: &[&[VirtualMachine("/libcoreclr.so")], &[Runtime("dotnet")]],
        source: "issues dotnet/runtime#77755, #61261",
        ..ROW
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
        clues: &[&[Runtime("ruby")], &[VirtualMachine("/libruby")]],
        source: "traced 3.1",
        ..ROW
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
        clues: &[&[Runtime("php")], &[Runtime("php-fpm")], &[VirtualMachine("/libphp")]],
        source: "traced 8.2",
        ..ROW
    },
    Client {
        name: "reqwest",
        versions: "0.12.23 and later",
        default: REQWEST,
        how: How::Line(
            ".tcp_keepalive(Some(Duration::from_secs({idle})))\n\
             .tcp_keepalive_interval(Some(Duration::from_secs({interval})))\n\
             .tcp_keepalive_retries(Some({count}))",
        ),
        ping: Some(".http2_keep_alive_interval(Some(Duration::from_secs({idle})))"),
        user_timeout: Some(".tcp_user_timeout(Some(Duration::from_millis({timeout_ms})))"),
        clues: &[&[Set(REQWEST)]],
        source: "source reqwest client.rs, CHANGELOG 0.12.23",
        ..ROW
    },
    Client {
        name: "an Erlang or Elixir program",
        versions: "25",
        how: How::Line(
            "[{keepalive, true}, {raw, 6, 4, <<{idle}:32/native>>},   % TCP_KEEPIDLE, connect options\n \
             {raw, 6, 5, <<{interval}:32/native>>}, {raw, 6, 6, <<{count}:32/native>>}]",
        ),
        ping: Some(ERLANG_TICKS),
        clues: &[&[Runtime("beam.smp")]],
        source: "erlang.org, inet:setopts/2, raw; kernel(6), net_ticktime and net_tickintensity",
        ..ROW
    },
    Client {
        name: "a Perl program",
        versions: "5.36",
        how: How::Line(
            "setsockopt($s, SOL_SOCKET, SO_KEEPALIVE, 1);\n\
             setsockopt($s, IPPROTO_TCP, TCP_KEEPIDLE, {idle});\n\
             setsockopt($s, IPPROTO_TCP, TCP_KEEPINTVL, {interval});\n\
             setsockopt($s, IPPROTO_TCP, TCP_KEEPCNT, {count});   # use Socket qw(:all)",
        ),
        clues: &[&[Runtime("perl")]],
        source: "traced 5.36",
        ..ROW
    },
];
