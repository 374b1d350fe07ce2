//! Libraries that stand below many programs and interpreters.

use super::{
    Client,
    Clue::{Library, Name, Native, Port, Runtime, UserTimeoutOnly, Values as Set},
    How, OFF, ON, ROW, on,
};

/// In ldap.conf the same names kill the program: libldap 2.5.13 ends with SIGSEGV as it reads them (tried).
const LDAP_OPTIONS: &str = "ldap_set_option(ld, LDAP_OPT_X_KEEPALIVE_IDLE, &(int){{idle}});\n\
    ldap_set_option(ld, LDAP_OPT_X_KEEPALIVE_INTERVAL, &(int){{interval}});\n\
    ldap_set_option(ld, LDAP_OPT_X_KEEPALIVE_PROBES, &(int){{count}});   // before the bind\n\
    // python-ldap: l.set_option(ldap.OPT_X_KEEPALIVE_IDLE, {idle}); PHP: ldap_set_option() as in C";

pub(super) const CLIENTS: &[Client] = &[
    Client {
        name: "OpenLDAP's client library",
        versions: "2.4.33 and later",
        used_by: &[
            "ldapsearch",
            "_ldap.",
            "ldap.so",
            "sssd",
            "mod_ldap",
            "nss_ldap",
            "pam_ldap",
            "nslcd",
        ],
        default: ON,
        how: How::Line(LDAP_OPTIONS),
        clues: &[
            // libcurl and libpq load it, too.
            &[Library("/libldap"), Port(389)],
            &[Library("/libldap"), Port(636)],
            &[Library("/libldap"), Port(3268)],
            &[Library("/libldap"), Port(3269)],
            &[Library("/_ldap.")],
            &[Library("/ldap.so")],
            &[Name("ldapsearch")],
        ],
        source: "traced libldap 2.5.13; source openldap libraries/libldap/os-ip.c; ldap_get_option(3)",
        ..ROW
    },
    Client {
        name: "ldap3 for Python",
        versions: "2.9",
        how: How::None,
        ping: Some(
            "connection.search('', '(objectClass=*)', 'BASE') every {idle} s on each idle connection",
        ),
        clues: &[&[Runtime("python"), Port(389)], &[Runtime("python"), Port(636)]],
        source: "source ldap3 strategy/base.py",
        ..ROW
    },
    Client {
        name: "libssh2",
        versions: "1.2.5 and later",
        how: How::None,
        ping: Some(
            "libssh2_keepalive_config(session, 1, {idle}), and libssh2_keepalive_send() when it asks for it",
        ),
        clues: &[&[Library("/libssh2"), Native, Port(22)]],
        source: "libssh2_keepalive_config(3)",
        ..ROW
    },
    Client {
        name: "Paramiko",
        versions: "5.1",
        how: How::None,
        ping: Some("client.get_transport().set_keepalive({idle})   (encrypted pings)"),
        clues: &[&[Runtime("python"), Port(22)]],
        source: "source paramiko transport.py, set_keepalive",
        ..ROW
    },
    Client {
        name: "libwebsockets",
        versions: "2 and later",
        how: How::Line(
            "info.ka_time = {idle}; info.ka_interval = {interval}; info.ka_probes = {count};\n\
             // struct lws_context_creation_info",
        ),
        clues: &[&[Library("/libwebsockets"), Native]],
        source: "source libwebsockets include/libwebsockets/lws-context-vhost.h",
        ..ROW
    },
    Client {
        name: "gRPC core, its pings are on",
        versions: "grpcio 1.85",
        used_by: &["grpc_c.so", "grpcio"],
        how: How::None,
        ping: Some(
            "grpc.keepalive_time_ms={idle_ms}, grpc.keepalive_permit_without_calls=1,\n\
             grpc.http2.max_pings_without_data=0: without them nothing, or one ping a minute, is sent while no call runs\n\
             (the server must allow it: grpc.keepalive_permit_without_calls=1,\n\
             grpc.http2.min_ping_interval_without_data_ms={idle_ms}; else it answers too_many_pings and closes)",
        ),
        clues: &[
            &[Library("/cygrpc"), UserTimeoutOnly],
            &[Library("/libgrpc.so"), UserTimeoutOnly],
            &[Library("/grpc_c.so"), UserTimeoutOnly],
        ],
        source: "traced grpcio 1.85: a user timeout of keepalive_timeout_ms, the second ping after a minute; source grpc doc/keepalive.md",
        ..ROW
    },
    Client {
        name: "gRPC core",
        versions: "grpcio 1.85",
        used_by: &["grpc_c.so", "grpcio"],
        how: How::None,
        ping: Some(
            "grpc.keepalive_time_ms={idle_ms}, grpc.keepalive_timeout_ms={timeout_ms},\n\
             grpc.keepalive_permit_without_calls=1, grpc.http2.max_pings_without_data=0\n\
             (the server must allow it: grpc.keepalive_permit_without_calls=1,\n\
             grpc.http2.min_ping_interval_without_data_ms={idle_ms}; else it answers too_many_pings and closes)",
        ),
        clues: &[&[Library("/cygrpc")], &[Library("/libgrpc.so")], &[Library("/grpc_c.so")]],
        source: "traced grpcio 1.85; source grpc doc/keepalive.md",
        ..ROW
    },
    Client {
        name: "a program with libcurl",
        versions: "7.25 and later; TCP_KEEPCNT from 8.9",
        default: OFF,
        how: How::Line(
            "curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);\n\
             curl_easy_setopt(h, CURLOPT_TCP_KEEPIDLE, {idle}L);\n\
             curl_easy_setopt(h, CURLOPT_TCP_KEEPINTVL, {interval}L);\n\
             // from 8.9: curl_easy_setopt(h, CURLOPT_TCP_KEEPCNT, {count}L);",
        ),
        clues: &[
            &[Library("/libcurl"), Native, Port(443)],
            &[Library("/libcurl"), Native, Port(80)],
            &[Library("/libcurl"), Native, Port(21)],
            &[Library("/libcurl"), Native, Set(on(60, 60, 9))],
        ],
        source: "tried 7.88; source curl lib/url.c, CURLOPT_TCP_KEEPALIVE.md",
        ..ROW
    },
];
