//! Languages and frameworks as servers: the line for what they accept.

use super::{
    Client,
    Clue::{Defaults, Go, Library, Name, Runtime, VirtualMachine},
    How, ROW,
    languages::ERLANG_TICKS,
    on,
};

pub(super) const SERVERS: &[Client] = &[
    Client {
        name: "gunicorn",
        versions: "20 and later",
        how: How::Line(
            "def when_ready(server):   # gunicorn.conf.py; what a listener accepts inherits it\n    for listener in server.LISTENERS:\n        s = listener.sock\n        s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)\n        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, {idle})\n        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, {interval})\n        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, {count})",
        ),
        clues: &[&[Name("gunicorn")]],
        source: "traced 27.0; issues benoitc/gunicorn#1458, #3115",
        ..ROW
    },
    Client {
        name: "uvicorn",
        versions: "0.54",
        how: How::Line(
            "listener = config.bind_socket()   # uvicorn.Config(...)\nlistener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)   # what it accepts inherits it\nlistener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, {idle})\nlistener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, {interval})\nlistener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, {count})\nuvicorn.Server(config).run(sockets=[listener])",
        ),
        ping: Some("uvicorn --ws-ping-interval {idle}   (WebSockets only)"),
        clues: &[&[Name("uvicorn")]],
        source: "traced 0.54",
        ..ROW
    },
    Client {
        name: "a Python server",
        versions: "3.11",
        how: How::Line(
            "listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)   # what it accepts inherits it\nlistener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, {idle})\nlistener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, {interval})\nlistener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, {count})\n# asyncio: listener = asyncio_server.sockets[0]; socketserver: server.socket",
        ),
        clues: &[&[Runtime("python")]],
        source: "traced 3.11",
        ..ROW
    },
    Client {
        name: "a Node server",
        versions: "20.20",
        how: How::Line(
            "server.on('connection', s => s.setKeepAlive(true, {idle_ms}))   // libuv adds: interval 1 s, 10 probes\n// or net.createServer({ keepAlive: true, keepAliveInitialDelay: {idle_ms} }), http.createServer too",
        ),
        clues: &[&[Runtime("node")], &[VirtualMachine("/libnode.so")]],
        source: "traced 20.20; nodejs.org, net.createServer",
        ..ROW
    },
    Client {
        name: "a Go server",
        versions: "1.13 to 1.22",
        default: on(15, 15, 0),
        go: (0, 23),
        how: How::Line(
            "listener, err := (&net.ListenConfig{KeepAlive: {idle} * time.Second}).Listen(ctx, \"tcp\", addr)   // the interval, too\nserver.Serve(listener)",
        ),
        ping: Some(
            "grpc.KeepaliveParams(keepalive.ServerParameters{Time: {idle} * time.Second,\n    Timeout: {interval} * time.Second})   // grpc-go",
        ),
        clues: &[&[Go, Defaults], &[Go]],
        source: "traced go1.19; go.dev, net.ListenConfig KeepAlive",
        ..ROW
    },
    Client {
        name: "a Go server",
        versions: "1.23 and later",
        default: on(15, 15, 9),
        go: (23, u32::MAX),
        how: How::Line(
            "listener, err := (&net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true,\n    Idle: {idle} * time.Second, Interval: {interval} * time.Second, Count: {count}}}).Listen(ctx, \"tcp\", addr)\nserver.Serve(listener)",
        ),
        ping: Some(
            "grpc.KeepaliveParams(keepalive.ServerParameters{Time: {idle} * time.Second,\n    Timeout: {interval} * time.Second})   // grpc-go",
        ),
        clues: &[&[Go, Defaults], &[Go]],
        source: "go.dev, net.ListenConfig KeepAliveConfig",
        ..ROW
    },
    Client {
        name: "a Netty server",
        versions: "4",
        how: How::Line(
            "bootstrap.childOption(ChannelOption.SO_KEEPALIVE, true)\n    .childOption(EpollChannelOption.TCP_KEEPIDLE, {idle})\n    .childOption(EpollChannelOption.TCP_KEEPINTVL, {interval})\n    .childOption(EpollChannelOption.TCP_KEEPCNT, {count})",
        ),
        user_timeout: Some(
            "bootstrap.childOption(EpollChannelOption.TCP_USER_TIMEOUT, {timeout_ms})",
        ),
        clues: &[&[Library("netty_transport_native_epoll")], &[Library("libnetty_transport")]],
        source: "source netty EpollChannelOption.java",
        ..ROW
    },
    Client {
        name: "a Java server",
        versions: "17; the options from JDK 11",
        how: How::Line(
            "Socket s = serverSocket.accept(); s.setKeepAlive(true);\ns.setOption(ExtendedSocketOptions.TCP_KEEPIDLE, {idle});   // jdk.net\ns.setOption(ExtendedSocketOptions.TCP_KEEPINTERVAL, {interval});\ns.setOption(ExtendedSocketOptions.TCP_KEEPCOUNT, {count});\n// Tomcat: <Connector socket.soKeepAlive=\"true\" .../> turns it on, the times are the system's",
        ),
        clues: &[&[Runtime("java")], &[VirtualMachine("/libjvm.so")]],
        source: "traced 17; tomcat.apache.org, HTTP connector, socket.soKeepAlive",
        ..ROW
    },
    Client {
        name: "Kestrel and other .NET servers",
        versions: "5 and later",
        how: How::Line(
            "options.ConfigureEndpointDefaults(o => o.Use(next => c => {   // KestrelServerOptions\n    var s = c.Features.Get<IConnectionSocketFeature>()!.Socket;\n    s.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);\n    s.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, {idle});\n    s.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, {interval});\n    s.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, {count});\n    return next(c); }));",
        ),
        ping: Some(
            "options.Limits.Http2.KeepAlivePingDelay = TimeSpan.FromSeconds({idle})   // HTTP/2",
        ),
        clues: &[&[VirtualMachine("/libcoreclr.so")], &[Runtime("dotnet")]],
        source: "learn.microsoft.com, IConnectionSocketFeature",
        ..ROW
    },
    Client {
        name: "a Ruby server (Puma, WEBrick ...)",
        versions: "3.1",
        how: How::Line(
            "listener.setsockopt(Socket::SOL_SOCKET, Socket::SO_KEEPALIVE, true)   # what it accepts inherits it\nlistener.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_KEEPIDLE, {idle})\nlistener.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_KEEPINTVL, {interval})\nlistener.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_KEEPCNT, {count})",
        ),
        clues: &[&[Runtime("ruby")], &[VirtualMachine("/libruby")], &[Name("puma")]],
        source: "socket.rb of Ruby 3.1",
        ..ROW
    },
    Client {
        name: "a PHP server",
        versions: "8.2",
        how: How::Line(
            "socket_set_option($listener, SOL_SOCKET, SO_KEEPALIVE, 1);   // what it accepts inherits it\nsocket_set_option($listener, SOL_TCP, TCP_KEEPIDLE, {idle});\nsocket_set_option($listener, SOL_TCP, TCP_KEEPINTVL, {interval});\nsocket_set_option($listener, SOL_TCP, TCP_KEEPCNT, {count});\n// Swoole: $server->set([\"open_tcp_keepalive\" => true, \"tcp_keepidle\" => {idle}])",
        ),
        clues: &[&[Runtime("php")], &[Runtime("php-fpm")], &[VirtualMachine("/libphp")]],
        source: "php.net, socket_set_option; source swoole-src Server::set",
        ..ROW
    },
    Client {
        name: "an Erlang or Elixir server",
        versions: "25",
        how: How::Line(
            "[{keepalive, true}, {raw, 6, 4, <<{idle}:32/native>>},   % TCP_KEEPIDLE, listen options\n {raw, 6, 5, <<{interval}:32/native>>}, {raw, 6, 6, <<{count}:32/native>>}]",
        ),
        ping: Some(ERLANG_TICKS),
        clues: &[&[Runtime("beam.smp")]],
        source: "erlang.org, inet:setopts/2, raw; kernel(6), net_ticktime and net_tickintensity",
        ..ROW
    },
    Client {
        name: "a Perl server",
        versions: "5.36",
        how: How::Line(
            "setsockopt($listener, SOL_SOCKET, SO_KEEPALIVE, 1);   # what it accepts inherits it\nsetsockopt($listener, IPPROTO_TCP, TCP_KEEPIDLE, {idle});\nsetsockopt($listener, IPPROTO_TCP, TCP_KEEPINTVL, {interval});\nsetsockopt($listener, IPPROTO_TCP, TCP_KEEPCNT, {count});   # use Socket qw(:all)",
        ),
        clues: &[&[Runtime("perl")]],
        source: "traced 5.36",
        ..ROW
    },
    Client {
        name: "a gRPC core server",
        versions: "grpcio 1.85",
        how: How::None,
        ping: Some(
            "grpc.keepalive_time_ms={idle_ms}, grpc.keepalive_timeout_ms={timeout_ms},\ngrpc.keepalive_permit_without_calls=1   (server options)",
        ),
        clues: &[&[Library("/cygrpc")], &[Library("/libgrpc.so")], &[Library("/grpc_c.so")]],
        source: "source grpc doc/keepalive.md",
        ..ROW
    },
];
