//! Clients of caches and brokers.

use super::{
    Client,
    Clue::{Library, Name, Native, Port, Runtime, Unread, Values as Set},
    How, OFF, ON, ROW, on,
};

pub(super) const CLIENTS: &[Client] = &[
    Client {
        name: "redis-cli or hiredis",
        versions: "7.0",
        default: on(15, 5, 3),
        how: How::Line(
            "redisEnableKeepAliveWithInterval(c, {idle})   (hiredis from 1.2; before: redisEnableKeepAlive(c), always 15 s.\n\
             redis-cli has no option)",
        ),
        ping: Some("PING every {idle} s"),
        user_timeout: Some("redisSetTcpUserTimeout(c, {timeout_ms})   (hiredis 1.2)"),
        clues: &[
            &[Name("redis-cli")],
            &[Set(on(15, 5, 3))],
            &[Library("/libhiredis"), Native],
            &[Name("valkey-cli")],
        ],
        source: "traced redis-cli 7.0.15; tried hiredis 0.14, which has it not, and 1.3; source hiredis net.c",
        ..ROW
    },
    Client {
        name: "redis-py from 8",
        versions: "8.0 and later",
        default: on(30, 5, 3),
        how: How::Line(
            "Redis(socket_keepalive=True, socket_keepalive_options={\n    \
             socket.TCP_KEEPIDLE: {idle}, socket.TCP_KEEPINTVL: {interval},\n    \
             socket.TCP_KEEPCNT: {count}})",
        ),
        ping: Some(
            "r.ping() every {idle} s on each idle connection   (health_check_interval asks only before a command)",
        ),
        clues: &[
            &[Runtime("python"), Library("/hiredis/hiredis.")],
            &[Runtime("python"), Port(6379)],
            &[Runtime("python"), Set(on(30, 5, 3))],
        ],
        source: "traced 8.1, 8.0; source redis-py _defaults.py",
        ..ROW
    },
    Client {
        name: "redis-py before 8",
        versions: "before 8.0",
        default: OFF,
        how: How::Line(
            "Redis(socket_keepalive=True, socket_keepalive_options={\n    \
             socket.TCP_KEEPIDLE: {idle}, socket.TCP_KEEPINTVL: {interval},\n    \
             socket.TCP_KEEPCNT: {count}})",
        ),
        ping: Some(
            "r.ping() every {idle} s on each idle connection   (health_check_interval asks only before a command)",
        ),
        clues: &[
            &[Runtime("python"), Library("/hiredis/hiredis.")],
            &[Runtime("python"), Port(6379)],
        ],
        source: "traced 5.0; source redis-py _defaults.py",
        ..ROW
    },
    Client {
        name: "redis-py or go-redis",
        versions: "redis-py 8.0, go-redis 9.22",
        default: on(30, 5, 3),
        how: How::Line(
            "socket_keepalive_options={socket.TCP_KEEPIDLE: {idle}, socket.TCP_KEEPINTVL: {interval},\n    \
             socket.TCP_KEEPCNT: {count}}   (redis-py from 8: what is given takes the place of all three)",
        ),
        ping: Some("PING every {idle} s"),
        clues: &[&[Set(on(30, 5, 3))]],
        source: "traced redis-py 8.1; source redis-py connection.py, go-redis options.go",
        ..ROW
    },
    Client {
        name: "Lettuce from 7",
        versions: "7 and later",
        default: on(13, 13, 3),
        how: How::Line(
            "SocketOptions.builder().keepAlive(KeepAliveOptions.builder().enable()\n    \
             .idle(ofSeconds({idle})).interval(ofSeconds({interval})).count({count}).build())",
        ),
        user_timeout: Some(
            "SocketOptions.builder().tcpUserTimeout(TcpUserTimeoutOptions.builder().enable()\n    .tcpUserTimeout(ofMillis({timeout_ms})).build())",
        ),
        clues: &[
            &[Set(on(13, 13, 3))],
            &[Library("/lettuce-core-"), Port(6379)],
            &[Runtime("java"), Port(6379)],
            &[Runtime("java"), Set(on(13, 13, 3))],
        ],
        source: "source lettuce SocketOptions.java",
        ..ROW
    },
    Client {
        name: "Lettuce before 7",
        versions: "6.1 to 6",
        default: OFF,
        how: How::Line(
            "SocketOptions.builder().keepAlive(KeepAliveOptions.builder().enable()\n    \
             .idle(ofSeconds({idle})).interval(ofSeconds({interval})).count({count}).build())",
        ),
        user_timeout: Some(
            "SocketOptions.builder().tcpUserTimeout(TcpUserTimeoutOptions.builder().enable()\n    .tcpUserTimeout(ofMillis({timeout_ms})).build())",
        ),
        clues: &[&[Library("/lettuce-core-"), Port(6379)], &[Runtime("java"), Port(6379)]],
        source: "source lettuce 6 SocketOptions.java, DEFAULT_SO_KEEPALIVE",
        ..ROW
    },
    Client {
        name: "Jedis",
        default: ON,
        how: How::System(None),
        ping: Some(
            "JedisPoolConfig: setTestWhileIdle(true), setTimeBetweenEvictionRuns(Duration.ofSeconds({idle}))",
        ),
        clues: &[
            &[Runtime("java"), Port(6379), Set(ON)],
            &[Library("/jedis-"), Port(6379), Set(ON)],
        ],
        source: "source jedis DefaultJedisSocketFactory.java",
        ..ROW
    },
    Client {
        name: "ioredis or node-redis",
        versions: "ioredis 6.0, node-redis 6.3",
        default: on(30, 1, 10),
        how: How::Line(
            "new Redis({ keepAlive: {idle_ms} })   // ioredis\n\
             // node-redis: createClient({ socket: { keepAlive: true, keepAliveInitialDelay: {idle_ms} } })",
        ),
        ping: Some("node-redis: pingInterval: {idle_ms}"),
        clues: &[&[Runtime("node"), Port(6379)], &[Runtime("node"), Set(on(30, 1, 10))]],
        source: "traced",
        ..ROW
    },
    Client {
        name: "phpredis",
        default: OFF,
        how: How::System(Some(
            "$redis->setOption(Redis::OPT_TCP_KEEPALIVE, 1);   // after connect()",
        )),
        clues: &[
            &[Library("/redis.so"), Port(6379)],
            &[Library("/redis.so")],
            &[Runtime("php"), Port(6379), Unread],
            &[Runtime("php-fpm"), Port(6379), Unread],
        ],
        source: "traced: it sets SO_KEEPALIVE = 0 itself",
        ..ROW
    },
    Client {
        name: "Kafka's Java clients",
        default: ON,
        how: How::System(None),
        ping: Some(
            "connections.max.idle.ms={idle_ms}   (closes idle connections before the path does)",
        ),
        clues: &[
            &[Library("/kafka-clients-"), Port(9092)],
            &[Runtime("java"), Port(9092)],
            &[Runtime("java"), Port(9093)],
        ],
        source: "source kafka Selector.java",
        ..ROW
    },
    Client {
        name: "librdkafka",
        used_by: &["confluent_kafka", "rdkafka.so", "node-librdkafka"],
        default: OFF,
        how: How::System(Some("socket.keepalive.enable=true")),
        ping: Some(
            "connections.max.idle.ms={idle_ms}   (closes idle connections before the path does)",
        ),
        clues: &[
            &[Library("/librdkafka"), Port(9092)],
            &[Library("/librdkafka"), Port(9093)],
            &[Library("/librdkafka")],
            &[Library("confluent_kafka")],
        ],
        source: "source librdkafka CONFIGURATION.md",
        ..ROW
    },
    Client {
        name: "kafkajs",
        versions: "2.2",
        default: on(60, 1, 10),
        how: How::Line("net.connect(...).setKeepAlive(true, {idle_ms})   // in a socketFactory"),
        clues: &[&[Runtime("node"), Port(9092)]],
        source: "traced 2.2",
        ..ROW
    },
    Client {
        name: "pika",
        versions: "1.4",
        default: OFF,
        how: How::Line(
            "ConnectionParameters(tcp_options={'TCP_KEEPIDLE': {idle},\n    \
             'TCP_KEEPINTVL': {interval}, 'TCP_KEEPCNT': {count}})",
        ),
        ping: Some("ConnectionParameters(heartbeat={idle})"),
        user_timeout: Some(
            "ConnectionParameters(tcp_options={'TCP_USER_TIMEOUT': {timeout_ms}, ...})",
        ),
        clues: &[&[Runtime("python"), Port(5672)], &[Runtime("python"), Port(5671)]],
        source: "traced 1.4; source pika 1.3 tcp_socket_opts.py",
        ..ROW
    },
    Client {
        name: "amqplib for Node",
        default: OFF,
        how: How::Line("amqp.connect(url, { keepAlive: true, keepAliveDelay: {idle_ms} })"),
        ping: Some("amqp://.../?heartbeat={idle}"),
        clues: &[&[Runtime("node"), Port(5672)]],
        source: "traced",
        ..ROW
    },
    Client {
        name: "rabbitmq-c",
        versions: "0.8 and later",
        used_by: &["amqp.so", "librabbitmq"],
        default: ON,
        how: How::System(None),
        ping: Some("amqp_login(..., heartbeat = {idle}, ...)   (php-amqp: 'heartbeat' => {idle})"),
        clues: &[
            &[Library("/librabbitmq"), Port(5672)],
            &[Library("/librabbitmq"), Port(5671)],
            &[Library("/librabbitmq")],
        ],
        source: "source rabbitmq-c librabbitmq/amqp_socket.c, amqp.h",
        ..ROW
    },
    Client {
        name: "mosquitto's client library",
        versions: "2",
        used_by: &["mosquitto_sub", "mosquitto_pub"],
        how: How::None,
        ping: Some(
            "mosquitto_connect(m, host, port, {idle})   (MQTT pings; mosquitto_sub -k {idle})",
        ),
        clues: &[&[Name("mosquitto_sub")], &[Name("mosquitto_pub")], &[Library("/libmosquitto")]],
        source: "mosquitto.h, mosquitto_sub(1)",
        ..ROW
    },
    Client {
        name: "Paho for C",
        versions: "1.3",
        how: How::None,
        ping: Some("MQTTClient_connectOptions.keepAliveInterval = {idle}   (MQTT pings)"),
        clues: &[&[Library("/libpaho-mqtt3"), Native]],
        source: "source paho.mqtt.c src/MQTTClient.h",
        ..ROW
    },
    Client {
        name: "Paho for Python",
        versions: "2",
        how: How::None,
        ping: Some("client.connect(host, port, keepalive={idle})   (MQTT pings)"),
        clues: &[&[Runtime("python"), Port(1883)], &[Runtime("python"), Port(8883)]],
        source: "source paho.mqtt.python src/paho/mqtt/client.py",
        ..ROW
    },
    Client {
        name: "MQTT.js",
        versions: "5",
        how: How::None,
        ping: Some("mqtt.connect(url, { keepalive: {idle} })   (MQTT pings)"),
        clues: &[&[Runtime("node"), Port(1883)], &[Runtime("node"), Port(8883)]],
        source: "source MQTT.js README.md, keepalive",
        ..ROW
    },
    Client {
        name: "libmemcached",
        versions: "1",
        how: How::Line(
            "memcached_behavior_set(m, MEMCACHED_BEHAVIOR_TCP_KEEPALIVE, 1);\n\
             memcached_behavior_set(m, MEMCACHED_BEHAVIOR_TCP_KEEPIDLE, {idle});",
        ),
        leaves_interval: true,
        clues: &[
            &[Library("/libmemcached"), Native, Port(11211)],
            &[Library("/libmemcached"), Native],
        ],
        source: "tried 1.1; source libmemcached connect.cc; its manual page calls the options otherwise",
        ..ROW
    },
    Client {
        name: "ZeroMQ",
        versions: "4",
        used_by: &["pyzmq"],
        how: How::Line(
            "ZMQ_TCP_KEEPALIVE=1, ZMQ_TCP_KEEPALIVE_IDLE={idle}, ZMQ_TCP_KEEPALIVE_INTVL={interval},\n\
             ZMQ_TCP_KEEPALIVE_CNT={count}   (zmq_setsockopt before connect or bind)",
        ),
        ping: Some("ZMQ_HEARTBEAT_IVL={idle_ms}"),
        user_timeout: Some("ZMQ_TCP_MAXRT={timeout_ms}   (zmq_setsockopt before connect)"),
        clues: &[&[Library("/libzmq")]],
        source: "zmq_setsockopt(3)",
        ..ROW
    },
];
