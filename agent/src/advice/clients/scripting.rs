//! Clients that are written in Ruby, PHP, Python or JavaScript themselves: only language and port give them away.

use super::{
    Client,
    Clue::{Library, Loaded, Port, Refused, Runtime, Unread, Values as Set, Without},
    How, OFF, ON, ROW, on,
};
use crate::model::observed::{setsockopt::SockOpt, setting::OwnValues};

const PY_AMQP: OwnValues = OwnValues { user_timeout_ms: 1000, ..on(60, 10, 9) };

pub(super) const CLIENTS: &[Client] = &[
    Client {
        name: "redis-rb before 5",
        versions: "4.8",
        default: OFF,
        how: How::Line(
            "Redis.new(tcp_keepalive: { time: {idle}, intvl: {interval}, probes: {count} })",
        ),
        clues: &[&[Runtime("ruby"), Port(6379)]],
        source: "traced 4.8.0; source redis-rb 4 lib/redis/client.rb",
        ..ROW
    },
    Client {
        name: "redis-client (redis-rb from 5, Sidekiq from 7)",
        versions: "0.30",
        default: on(120, 15, 7),
        how: How::None,
        ping: Some("redis.call('PING') every {idle} s on each idle connection"),
        clues: &[&[Runtime("ruby"), Port(6379)], &[Runtime("ruby"), Set(on(120, 15, 7))]],
        source: "source redis-client 0.30 lib/redis_client/ruby_connection.rb, enable_socket_keep_alive",
        ..ROW
    },
    Client {
        name: "Bunny (RabbitMQ for Ruby)",
        versions: "2 and 3",
        default: OFF,
        how: How::System(Some("Bunny.new(keepalive: true)")),
        ping: Some("Bunny.new(heartbeat: {idle})"),
        clues: &[&[Runtime("ruby"), Port(5672)], &[Runtime("ruby"), Port(5671)]],
        source: "tried 3.3.0.pre, 2.19: the transport passes keepalive: nil, so it stays off; lib/bunny/heartbeat_sender.rb",
        ..ROW
    },
    Client {
        name: "Dalli (memcached for Ruby)",
        versions: "5.0",
        default: ON,
        how: How::System(None),
        ping: Some("client.version every {idle} s on each idle connection"),
        clues: &[&[Runtime("ruby"), Port(11211)]],
        source: "source dalli 5.0 lib/dalli/socket.rb, lib/dalli/protocol/connection_manager.rb, keepalive: true",
        ..ROW
    },
    Client {
        name: "Predis",
        versions: "3.6",
        default: OFF,
        how: How::None,
        ping: Some("$client->ping() every {idle} s on each idle connection"),
        clues: &[
            &[Runtime("php"), Port(6379), Without("/redis.so")],
            &[Runtime("php-fpm"), Port(6379), Without("/redis.so")],
            &[Runtime("php"), Port(6379), Unread],
            &[Runtime("php-fpm"), Port(6379), Unread],
        ],
        source: "source predis 3.6 src/Connection/Resource/StreamFactory.php: it has tcp_nodelay, nothing for keepalive",
        ..ROW
    },
    Client {
        name: "php-amqplib",
        versions: "3.7",
        default: OFF,
        how: How::System(Some(
            "new AMQPStreamConnection($host, $port, $user, $password, keepalive: true)",
        )),
        ping: Some(
            "new AMQPStreamConnection(..., heartbeat: {idle}), and (new PCNTLHeartbeatSender($connection))->register()",
        ),
        clues: &[&[Runtime("php"), Port(5672)], &[Runtime("php-fpm"), Port(5672)]],
        source: "source php-amqplib 3.7 PhpAmqpLib/Wire/IO/StreamIO.php, enable_keepalive; Connection/Heartbeat",
        ..ROW
    },
    Client {
        name: "PHP's curl extension (Guzzle, Symfony's HttpClient)",
        versions: "8.2",
        default: OFF,
        how: How::Line(
            "curl_setopt_array($ch, [CURLOPT_TCP_KEEPALIVE => 1, CURLOPT_TCP_KEEPIDLE => {idle},\n    \
             CURLOPT_TCP_KEEPINTVL => {interval}]);   // Guzzle: new Client(['curl' => [the same]])",
        ),
        clues: &[
            &[Runtime("php"), Loaded("/libcurl"), Port(443)],
            &[Runtime("php"), Loaded("/libcurl"), Port(80)],
            &[Runtime("php-fpm"), Loaded("/libcurl"), Port(443)],
            &[Runtime("php-fpm"), Loaded("/libcurl"), Port(80)],
        ],
        source: "php.net, curl_setopt, CURLOPT_TCP_KEEPALIVE",
        ..ROW
    },
    Client {
        name: "PHP's memcached extension",
        versions: "3.3",
        default: OFF,
        how: How::System(Some("$m->setOption(Memcached::OPT_TCP_KEEPALIVE, true);")),
        clues: &[
            &[Library("/memcached.so"), Port(11211)],
            &[Runtime("php"), Port(11211)],
            &[Runtime("php-fpm"), Port(11211)],
        ],
        source: "source php-memcached 3.3 php_memcached.c: no constant for the idle time",
        ..ROW
    },
    Client {
        name: "pycurl",
        versions: "7",
        default: OFF,
        how: How::Line(
            "c.setopt(pycurl.TCP_KEEPALIVE, 1)\nc.setopt(pycurl.TCP_KEEPIDLE, {idle})\n\
             c.setopt(pycurl.TCP_KEEPINTVL, {interval})",
        ),
        clues: &[
            &[Runtime("python"), Loaded("/pycurl."), Port(443)],
            &[Runtime("python"), Loaded("/pycurl."), Port(80)],
            &[Runtime("python"), Loaded("/pycurl."), Port(21)],
        ],
        source: "traced 7.49",
        ..ROW
    },
    Client {
        name: "py-amqp (Celery, kombu)",
        versions: "5.4",
        default: PY_AMQP,
        how: How::Line(
            "amqp.Connection(..., socket_settings={socket.TCP_KEEPIDLE: {idle}, socket.TCP_KEEPINTVL: {interval},\n    \
             socket.TCP_KEEPCNT: {count}})   # Celery: broker_transport_options = {'socket_settings': the same}",
        ),
        ping: Some(
            "broker_heartbeat = {idle}   (Celery; kombu: Connection(heartbeat={idle}) and heartbeat_check())",
        ),
        user_timeout: Some(
            "socket_settings={socket.TCP_USER_TIMEOUT: {timeout_ms}}   # Celery: broker_transport_options",
        ),
        clues: &[
            &[Runtime("python"), Set(PY_AMQP)],
            &[Runtime("python"), Port(5672), Set(PY_AMQP)],
        ],
        source: "traced amqp 5.4; source py-amqp amqp/transport.py, DEFAULT_SOCKET_SETTINGS",
        ..ROW
    },
    Client {
        name: "aio-pika (aiormq)",
        versions: "10.2",
        default: OFF,
        how: How::None,
        ping: Some("aio_pika.connect('amqp://HOST/?heartbeat={idle}')   (60 s if it is not given)"),
        clues: &[&[Runtime("python"), Port(5672)], &[Runtime("python"), Port(5671)]],
        source: "source aiormq 7.2 connection.py, heartbeat; it makes its streams by asyncio and sets nothing",
        ..ROW
    },
    Client {
        name: "pymemcache",
        versions: "4.0",
        default: OFF,
        how: How::Line(
            "Client(..., socket_keepalive=KeepaliveOpts(idle={idle}, intvl={interval}, cnt={count}))",
        ),
        ping: Some("client.version() every {idle} s on each idle connection"),
        clues: &[&[Runtime("python"), Port(11211)]],
        source: "tried 4.0; source pymemcache client/base.py, KeepaliveOpts",
        ..ROW
    },
    Client {
        name: "kafka-python or aiokafka",
        versions: "kafka-python 3.0, aiokafka 0.14",
        default: OFF,
        how: How::Line(
            "KafkaConsumer(..., socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),\n    \
             (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, {idle}), (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, {interval}),\n    \
             (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, {count})])   # kafka-python; aiokafka has no such option",
        ),
        ping: Some(
            "connections_max_idle_ms={idle_ms}   (closes idle connections before the path does)",
        ),
        clues: &[&[Runtime("python"), Port(9092)], &[Runtime("python"), Port(9093)]],
        source: "traced kafka-python 3.0; source kafka/net/manager.py, socket_options",
        ..ROW
    },
    Client {
        name: "AsyncSSH",
        versions: "2.24",
        default: ON,
        how: How::System(None),
        ping: Some("asyncssh.connect(..., keepalive_interval={idle})   (encrypted pings)"),
        clues: &[&[Runtime("python"), Port(22), Set(ON)]],
        source: "source asyncssh 2.24 connection.py, tcp_keepalive, keepalive_interval",
        ..ROW
    },
    Client {
        name: "nats-py",
        versions: "2",
        default: OFF,
        how: How::None,
        ping: Some("nats.connect(..., ping_interval={idle})   (2 min if it is not given)"),
        clues: &[&[Runtime("python"), Port(4222)]],
        source: "source nats-py 2.16 nats/aio/client.py, ping_interval",
        ..ROW
    },
    Client {
        name: "tedious (SQL Server for Node)",
        versions: "20",
        default: on(30, 1, 10),
        how: How::None,
        ping: Some("SELECT 1 every {idle} s on each idle connection"),
        clues: &[&[Runtime("node"), Port(1433)]],
        source: "source tedious 20.0 src/connection.ts, KEEP_ALIVE_INITIAL_DELAY: 30 s, no option",
        ..ROW
    },
    Client {
        name: "the Cassandra driver for Node",
        versions: "4.10",
        default: ON,
        how: How::Line(
            "new Client({ ..., socketOptions: { keepAlive: true, keepAliveDelay: {idle_ms} } })",
        ),
        ping: Some("pooling: { heartBeatInterval: {idle_ms} }"),
        clues: &[
            &[Runtime("node"), Port(9042), Refused(SockOpt::Idle, 0)],
            &[Runtime("node"), Port(9042)],
        ],
        source: "tried 4.10; source cassandra-driver lib/client-options.js: keepAliveDelay 0, which the kernel refuses",
        ..ROW
    },
];
