//! The software that is tried: Debian's as its release has it, PyPI's and npm's by version.

/// A program of Debian's.
#[derive(Debug)]
pub(crate) struct CaseProgram {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    /// Where the package has it, with `*` for what differs between releases.
    pub(crate) place: &'static str,
}

const fn program(name: &'static str, package: &'static str, place: &'static str) -> CaseProgram {
    CaseProgram { name, package, place }
}

pub(crate) const PROGRAMS: [CaseProgram; 20] = [
    program("curl", "curl", "usr/bin/curl"),
    program("go", "golang-go", "usr/lib/go-*/bin/go"),
    program("haproxy", "haproxy", "usr/sbin/haproxy"),
    program("initdb", "postgresql", "usr/lib/postgresql/*/bin/initdb"),
    program("java", "default-jdk-headless", "usr/lib/jvm/java-*/bin/java"),
    program("mariadbd", "mariadb-server-core", "usr/sbin/mariadbd"),
    program("mosquitto", "mosquitto", "usr/sbin/mosquitto"),
    program("mptcpize", "mptcpize", "usr/bin/mptcpize"),
    program("nginx", "nginx-light", "usr/sbin/nginx"),
    program("node", "nodejs", "usr/bin/node"),
    program("perl", "perl", "usr/bin/perl"),
    program("pgbouncer", "pgbouncer", "usr/sbin/pgbouncer"),
    program("php", "php-cli", "usr/bin/php*.*"),
    program("postgres", "postgresql", "usr/lib/postgresql/*/bin/postgres"),
    program("psql", "postgresql-client", "usr/lib/postgresql/*/bin/psql"),
    program("redis-cli", "redis-tools", "usr/bin/redis-cli"),
    program("redis-server", "redis-server", "usr/bin/redis-server"),
    program("rsyslogd", "rsyslog", "usr/sbin/rsyslogd"),
    program("ruby", "ruby", "usr/bin/ruby*.*"),
    program("ssh", "openssh-client", "usr/bin/ssh"),
];

pub(crate) const PYTHON: [&str; 13] = [
    "PyMySQL==1.2.4",
    "aiohttp==3.14.5",
    "asyncpg==0.32.0",
    "asyncssh==2.24.1",
    "grpcio==1.85.3",
    "gunicorn==27.0.1",
    "httpx==0.28.1",
    "paho-mqtt==2.2.0",
    "paramiko==5.1.0",
    "psycopg2-binary==2.9.13",
    "redis==8.1.0",
    "requests==2.34.2",
    "uvicorn==0.54.0",
];

pub(crate) const NODE: [&str; 5] =
    ["ioredis@6.0.0", "mqtt@5.16.0", "mysql2@3.24.6", "pg@8.23.1", "undici@7.30.2"];
