//! Clients of databases.

use super::{
    Client,
    Clue::{Library, Name, Port, Refused, Runtime, Values as Set},
    How, OFF, ON, ROW, on,
};
use crate::model::observed::setsockopt::SockOpt;

pub(super) const CLIENTS: &[Client] = &[
    Client {
        name: "libpq",
        versions: "psql 15, psycopg 3.3, psycopg2 2.9",
        used_by: &[
            "psql",
            "pg_dump",
            "pgbench",
            "psycopg2",
            "psycopg",
            "pgsql.so",
            "pg_ext.so",
            "libpqwalreceiver",
            "libqsqlpsql",
        ],
        default: ON,
        how: How::Line(
            "keepalives=1 keepalives_idle={idle} keepalives_interval={interval} \
             keepalives_count={count}   (in the connection string)",
        ),
        ping: Some("SELECT 1 every {idle} s on each idle connection"),
        user_timeout: Some(
            "tcp_user_timeout={timeout_ms}   (in the connection string, from libpq 12)",
        ),
        clues: &[
            &[Name("psql")],
            &[Name("pg_dump")],
            &[Name("pgbench")],
            &[Library("/libpq"), Port(5432)],
            &[Library("/libpq."), Set(ON)],
            &[Library("/libpq-"), Set(ON)],
            &[Library("/psycopg2/")],
            &[Library("/psycopg_binary/")],
            &[Library("/psycopg_c/")],
        ],
        source: "traced psql 15, psycopg 3.3, psycopg2 2.9",
        ..ROW
    },
    Client {
        name: "pgjdbc (PostgreSQL for Java)",
        versions: "42",
        default: OFF,
        how: How::System(Some("jdbc:postgresql://.../db?tcpKeepAlive=true")),
        ping: Some("HikariCP: keepaliveTime={idle_ms}   (at least 30000)"),
        least_ping: 30,
        clues: &[&[Library("/postgresql-42"), Port(5432)], &[Runtime("java"), Port(5432)]],
        source: "source pgjdbc PGProperty.java",
        ..ROW
    },
    Client {
        name: "node-postgres (pg)",
        versions: "8.23",
        default: OFF,
        how: How::Line("new Client({ keepAlive: true, keepAliveInitialDelayMillis: {idle_ms} })"),
        clues: &[&[Runtime("node"), Port(5432)]],
        source: "traced 8.23",
        ..ROW
    },
    Client {
        name: "tokio-postgres",
        versions: "0.7",
        default: on(7200, 0, 0),
        how: How::Line(
            "keepalives_idle={idle} keepalives_interval={interval} keepalives_retries={count}",
        ),
        clues: &[&[Set(on(7200, 0, 0))]],
        source: "source tokio-postgres 0.7.18 config.rs",
        ..ROW
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
        clues: &[&[Library("/asyncpg/"), Port(5432)], &[Library("/asyncpg/")]],
        source: "traced 0.32; source asyncpg",
        ..ROW
    },
    Client {
        name: ".NET with Npgsql",
        default: OFF,
        how: How::Line(
            "Tcp Keepalive=true;Tcp Keepalive Time={idle};Tcp Keepalive Interval={interval}",
        ),
        ping: Some("Keepalive={idle}   (in the connection string: a query every {idle} s)"),
        clues: &[&[Library("/Npgsql.dll"), Port(5432)]],
        source: "source npgsql doc connection-string-parameters.md",
        ..ROW
    },
    Client {
        name: "mysql2 for Node",
        versions: "3.24",
        default: ON,
        how: How::Line("mysql.createConnection({ ..., keepAliveInitialDelay: {idle_ms} })"),
        ping: Some("connection.ping() every {idle} s"),
        clues: &[
            &[Runtime("node"), Port(3306)],
            &[Runtime("node"), Refused(SockOpt::Idle, 0), Port(3306)],
        ],
        source: "traced 3.24: TCP_KEEPIDLE = 0 is refused with EINVAL",
        ..ROW
    },
    Client {
        name: "a Node client with keepAliveInitialDelay unset (as mysql2, amqplib)",
        versions: "mysql2 3.24, amqplib",
        default: ON,
        how: How::Line("keepAliveInitialDelay: {idle_ms}   (mysql2; amqplib: keepAliveDelay)"),
        clues: &[
            &[Runtime("node"), Refused(SockOpt::Idle, 0)],
            &[Set(ON), Refused(SockOpt::Idle, 0)],
        ],
        source: "traced: TCP_KEEPIDLE = 0 is refused with EINVAL",
        ..ROW
    },
    Client {
        name: "MySQL Connector/J",
        default: ON,
        how: How::System(Some("jdbc:mysql://.../db?tcpKeepAlive=true")),
        ping: Some("HikariCP: keepaliveTime={idle_ms}   (at least 30000)"),
        least_ping: 30,
        clues: &[&[Library("/mysql-connector-j"), Port(3306)], &[Runtime("java"), Port(3306)]],
        source: "source mysql-connector-j PropertyDefinitions.java",
        ..ROW
    },
    Client {
        name: "mysql-connector-python, without its C extension",
        versions: "26.10",
        default: OFF,
        how: How::None,
        ping: Some("connection.ping() every {idle} s on each idle connection"),
        clues: &[&[Runtime("python"), Port(3306), Set(OFF)]],
        source: "traced 26.10",
        ..ROW
    },
    Client {
        name: "the MySQL or MariaDB client library, mysqlnd or PyMySQL",
        versions: "PyMySQL 1.2",
        default: ON,
        how: How::System(None),
        ping: Some(
            "SELECT 1 every {idle} s on each idle connection   (C: mysql_ping(); PyMySQL, mysqlclient, mysql2 for Ruby: ping())",
        ),
        clues: &[
            &[Name("mysql")],
            &[Name("mariadb")],
            &[Library("/libmysqlclient"), Port(3306)],
            &[Library("/libmysqlclient"), Set(ON)],
            &[Library("/libmariadb"), Set(ON)],
            &[Library("/libmariadb"), Port(3306)],
            &[Runtime("php"), Port(3306)],
            &[Runtime("python"), Port(3306)],
        ],
        source: "traced mariadb CLI, php-mysqli, PyMySQL 1.2",
        ..ROW
    },
    Client {
        name: "PyMongo",
        versions: "4.20",
        default: on(120, 10, 9),
        how: How::System(None),
        clues: &[
            &[Runtime("python"), Library("/pymongo/")],
            &[Runtime("python"), Port(27017)],
            &[Runtime("python"), Set(on(120, 10, 9))],
            &[Runtime("python"), Set(on(120, 10, 0))],
        ],
        source: "traced 4.20; it caps the system's idle time at 120 s",
        ..ROW
    },
    Client {
        name: "the MongoDB driver for Node",
        versions: "7.8",
        default: on(120, 1, 10),
        how: How::Line("new MongoClient(url, { keepAliveInitialDelay: {idle_ms} })"),
        clues: &[&[Runtime("node"), Port(27017)], &[Runtime("node"), Set(on(120, 1, 10))]],
        source: "traced 7.8",
        ..ROW
    },
    Client {
        name: "the Cassandra driver for Java",
        versions: "4",
        default: OFF,
        how: How::System(Some("datastax-java-driver.advanced.socket.keep-alive = true")),
        ping: Some("datastax-java-driver.advanced.heartbeat.interval = {idle} seconds"),
        clues: &[&[Library("/java-driver-core-"), Port(9042)], &[Runtime("java"), Port(9042)]],
        source: "source cassandra-java-driver reference.conf",
        ..ROW
    },
    Client {
        name: "the Cassandra driver for Python",
        versions: "3.30",
        default: OFF,
        how: How::Line(
            "Cluster(sockopts=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),\n    \
             (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, {idle}),\n    \
             (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, {interval}),\n    \
             (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, {count})])",
        ),
        ping: Some("Cluster(idle_heartbeat_interval={idle})"),
        clues: &[&[Runtime("python"), Port(9042)]],
        source: "traced 3.30",
        ..ROW
    },
    Client {
        name: "python-oracledb, thin",
        versions: "2 and later",
        how: How::Line("oracledb.connect(..., expire_time={minutes})   (minutes)"),
        least_idle: 60,
        ping: Some("connection.ping() every {idle} s on each idle connection"),
        clues: &[&[Library("/oracledb/"), Port(1521)], &[Library("/oracledb/")]],
        source: "traced 26.1: expire_time=1 sets 60/6/10",
        ..ROW
    },
    Client {
        name: "Oracle's client library (OCI)",
        versions: "19 and later",
        used_by: &["cx_Oracle", "oracledb", "oci8.so", "sqlplus", "DBD/Oracle"],
        how: How::Line(
            "(DESCRIPTION=(EXPIRE_TIME={minutes})(ADDRESS=...   (connect descriptor; minutes)\n\
             # before 19: (DESCRIPTION=(ENABLE=BROKEN)(ADDRESS=... and the system's times",
        ),
        least_idle: 60,
        ping: Some("OCIPing() every {idle} s on each idle connection"),
        clues: &[
            &[Library("/libclntsh"), Port(1521)],
            &[Library("/libclntsh")],
            &[Name("sqlplus")],
        ],
        source: "docs.oracle.com, Net Services Reference, EXPIRE_TIME and ENABLE=BROKEN",
        ..ROW
    },
    Client {
        name: "Oracle's JDBC thin driver",
        versions: "19 and later",
        how: How::Line(
            "-Doracle.net.keepAlive=true -Doracle.net.TCP_KEEPIDLE={idle} \
             -Doracle.net.TCP_KEEPINTERVAL={interval} -Doracle.net.TCP_KEEPCOUNT={count}\n\
             # the same names as connection properties",
        ),
        ping: Some("HikariCP: keepaliveTime={idle_ms}   (at least 30000)"),
        least_ping: 30,
        clues: &[&[Library("/ojdbc"), Port(1521)], &[Runtime("java"), Port(1521)]],
        source: "docs.oracle.com, OracleConnection CONNECTION_PROPERTY_THIN_NET_KEEPALIVE, _TCP_KEEPIDLE",
        ..ROW
    },
    Client {
        name: "node-oracledb, thin",
        versions: "6 and later",
        how: How::Line("oracledb.getConnection({ ..., expireTime: {minutes} })   (minutes)"),
        least_idle: 60,
        ping: Some("connection.ping() every {idle} s on each idle connection"),
        clues: &[&[Runtime("node"), Port(1521)]],
        source: "source node-oracledb doc/src/user_guide/connection_handling.rst, expireTime",
        ..ROW
    },
    Client {
        name: "Microsoft's ODBC driver for SQL Server",
        versions: "17.4 and later",
        default: on(30, 1, 0),
        how: How::Line(
            "KeepAlive={idle};KeepAliveInterval={interval}   (odbc.ini; from 17.8 the connection string, too)",
        ),
        clues: &[&[Library("/libmsodbcsql")]],
        source: "learn.microsoft.com, ODBC DSN and connection string keywords",
        ..ROW
    },
    Client {
        name: "FreeTDS",
        versions: "1.x",
        used_by: &["pymssql", "tdsodbc", "libsybdb"],
        default: on(40, 2, 0),
        how: How::None,
        ping: Some("SELECT 1 every {idle} s on each idle connection"),
        clues: &[
            &[Library("/libsybdb"), Port(1433)],
            &[Library("/pymssql/")],
            &[Library("/libtdsodbc")],
            &[Library("/libsybdb")],
        ],
        source: "traced pymssql 2.4; source freetds src/tds/net.c",
        ..ROW
    },
    Client {
        name: "mssql-jdbc",
        versions: "7 and later",
        default: on(30, 1, 0),
        how: How::None,
        ping: Some("HikariCP: keepaliveTime={idle_ms}   (at least 30000)"),
        least_ping: 30,
        clues: &[&[Library("/mssql-jdbc-"), Port(1433)], &[Runtime("java"), Port(1433)]],
        source: "source mssql-jdbc IOBuffer.java, setSocketOptions: 30 s and 1 s, from JDK 11",
        ..ROW
    },
    Client {
        name: "the MongoDB C driver",
        versions: "1.x",
        used_by: &["mongodb.so", "libmongocxx"],
        default: on(120, 10, 9),
        how: How::System(None),
        clues: &[
            &[Library("/libmongoc")],
            &[Library("/mongodb.so"), Port(27017)],
            &[Library("/mongodb.so")],
        ],
        source: "source mongo-c-driver src/mongoc/mongoc-socket.c; it caps the system's idle time at 120 s",
        ..ROW
    },
    Client {
        name: "the Cassandra driver for C++",
        versions: "2",
        how: How::Line("cass_cluster_set_tcp_keepalive(cluster, cass_true, {idle})"),
        ping: Some("cass_cluster_set_connection_heartbeat_interval(cluster, {idle})"),
        clues: &[&[Library("/libcassandra.so")]],
        source: "source cpp-driver include/cassandra.h",
        ..ROW
    },
];
