//! Clients for Java and .NET that are recognised by their jar, their assembly, or the port.

use super::{
    Client,
    Clue::{Library, Port, Runtime},
    How, OFF, ON, ROW, on,
};

pub(super) const CLIENTS: &[Client] = &[
    Client {
        name: "RabbitMQ's Java client",
        versions: "5",
        default: OFF,
        how: How::Line(
            "factory.setSocketConfigurator(s -> { s.setTcpNoDelay(true); s.setKeepAlive(true);\n    \
             s.setOption(ExtendedSocketOptions.TCP_KEEPIDLE, {idle});   // jdk.net, from JDK 11\n    \
             s.setOption(ExtendedSocketOptions.TCP_KEEPINTERVAL, {interval});\n    \
             s.setOption(ExtendedSocketOptions.TCP_KEEPCOUNT, {count}); });",
        ),
        ping: Some("factory.setRequestedHeartbeat({idle})   (60 s if it is not given)"),
        clues: &[&[Library("/amqp-client-"), Port(5672)], &[Runtime("java"), Port(5672)]],
        source: "source rabbitmq-java-client ConnectionFactory.java, SocketConfigurator.java",
        ..ROW
    },
    Client {
        name: "the MongoDB driver for Java",
        versions: "4 and 5",
        default: on(120, 10, 9),
        how: How::None,
        ping: Some(
            "maxIdleTimeMS={idle_ms}   (connection string: closes idle connections before the path does)",
        ),
        clues: &[&[Library("/mongodb-driver-core-"), Port(27017)], &[Runtime("java"), Port(27017)]],
        source: "source mongo-java-driver 5 SocketStreamHelper.java: 120 s, 10 s, 9 from JDK 11, no option",
        ..ROW
    },
    Client {
        name: "StackExchange.Redis",
        versions: "2",
        default: ON,
        how: How::None,
        ping: Some(
            "keepAlive={idle}   (configuration string: a PING when idle; 60 s if it is not given)",
        ),
        clues: &[
            &[Library("/StackExchange.Redis.dll"), Port(6379)],
            &[Library("/StackExchange.Redis.dll"), Port(6380)],
        ],
        source: "source StackExchange.Redis docs/Configuration.md, SocketManager.cs: no times",
        ..ROW
    },
    Client {
        name: "MySqlConnector for .NET",
        versions: "2",
        default: ON,
        how: How::Line("Keep Alive={idle}   (connection string; sets an interval of 1 s, too)"),
        clues: &[&[Library("/MySqlConnector.dll"), Port(3306)]],
        source: "source MySqlConnector 2.6 SocketExtensions.cs, SetKeepAlive",
        ..ROW
    },
];
