//! TLS and passwords, each beside its look-alike.

use super::{HOST, SOON, SecureAgent, basic, has, user, web_config};
use keepwatch_tests::{
    answer::{
        agent::{assert_refused, keepwatch},
        http,
        tls::{Authority, TlsClient, der, replace},
    },
    tool::TemporaryFolder,
    wait::until,
};

#[test]
fn metrics_need_tls_and_a_password_where_the_web_config_says_so() {
    let secure = SecureAgent::start(&user("alice", "opensesame"));
    let (client, address) = (secure.client(), secure.agent.address());
    let status =
        |headers: &[&str]| client.get(address, "/metrics", headers).expect("an answer").status();
    assert_eq!(status(&[HOST, &basic("alice", "opensesame")]), 200);
    for (name, password) in [
        ("alice", "opensesam"),
        ("alice", "opensesame "),
        ("alice", ""),
        ("Alice", "opensesame"),
        ("bob", "opensesame"),
        ("", "opensesame"),
    ] {
        for _ in 0..2 {
            assert_eq!(status(&[HOST, &basic(name, password)]), 401, "{name}:{password}");
        }
    }
    let answer = client.get(address, "/-/healthy", &[HOST]).expect("an answer");
    assert_eq!((answer.status(), answer.header("www-authenticate").is_some()), (401, true));
    for odd in ["Authorization: Basic", "Authorization: Basic !!", "Authorization: Bearer x"] {
        assert_eq!(status(&[HOST, odd]), 401, "{odd}");
    }
    assert_eq!(status(&[HOST, &basic("alice", "opensesame")]), 200, "bad ones do not push it out");

    let plain = http::ask_at(address, "/metrics", &[HOST, &basic("alice", "opensesame")]);
    assert!(plain.is_err(), "no word without TLS: {plain:?}");
    let stranger = TlsClient::trusting(&Authority::new("another"));
    assert!(stranger.get(address, "/metrics", &[HOST]).is_err(), "not its authority");

    let said = secure.agent.said();
    assert!(said.contains("https://"), "{said}");
    for secret in ["opensesam", "$2b$", "$2y$", "PRIVATE KEY"] {
        assert!(!said.contains(secret), "{said}");
    }
}

#[test]
fn clients_need_a_certificate_of_our_authority_that_is_valid_and_has_an_allowed_name() {
    let more = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans:\n    \
                - prometheus.example\n";
    let secure = SecureAgent::start(more);
    let address = secure.agent.address();
    let ours = &secure.ours;
    let is_served = |client: &TlsClient| {
        client.get(address, "/metrics", &[HOST]).is_ok_and(|answer| answer.status() == 200)
    };
    assert!(is_served(&TlsClient::with(ours, &ours.client("prometheus.example"))));
    assert!(!is_served(&secure.client()), "without a certificate");
    let expired = ours.expired_client("prometheus.example");
    assert!(!is_served(&TlsClient::with(ours, &expired)), "expired");
    let other = Authority::new("another").client("prometheus.example");
    assert!(!is_served(&TlsClient::with(ours, &other)), "of another authority");
    let namesake = Authority::new("ours").client("prometheus.example");
    assert!(!is_served(&TlsClient::with(ours, &namesake)), "of an authority with the same name");
    assert!(!is_served(&TlsClient::with(ours, &ours.client("grafana.example"))), "another name");
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart_and_a_wrong_one_is_refused() {
    const RELOADED: &str = "keepwatch_config_last_reload_successful{file=\"web_config\"}";
    let secure = SecureAgent::start("");
    let (client, address) = (secure.client(), secure.agent.address());
    let shown = || client.shown_by(address).expect("a certificate");
    let is_reloaded = |value: &str| {
        let answer = client.get(address, "/metrics", &[HOST]).expect("an answer");
        has(answer.text(), RELOADED, value).then_some(())
    };
    let first = shown();
    is_reloaded("1").expect("good at the start");

    let second = secure.ours.server();
    second.write(&secure.folder.file(""), "server");
    until("the new certificate is shown", SOON, || {
        (shown() == der(&second.certificate)).then_some(())
    });
    assert_ne!(first, shown());

    replace(&secure.folder.file("server.key"), &secure.ours.server().key);
    until("the metric says that it was refused", SOON, || is_reloaded("0"));
    assert_eq!(shown(), der(&second.certificate), "the one before is shown");
    let said = secure.agent.said();
    for words in ["web.yml:3", "tls_server_config.key_file", "server.key"] {
        assert!(said.contains(words), "no {words} in {said}");
    }
    assert!(!said.contains("PRIVATE KEY"), "{said}");

    replace(&secure.folder.file("server.key"), &second.key);
    until("the metric says that it is good", SOON, || is_reloaded("1"));
}

#[test]
fn a_changed_password_counts_at_once() {
    let secure = SecureAgent::start(&user("alice", "old"));
    let (client, address) = (secure.client(), secure.agent.address());
    let status = |password: &str| {
        let headers = [HOST, &basic("alice", password)];
        client.get(address, "/metrics", &headers).expect("an answer").status()
    };
    assert_eq!((status("old"), status("new")), (200, 401));
    replace(&secure.web_config(), &web_config(&user("alice", "new")));
    until("the new password is good", SOON, || (status("new") == 200).then_some(()));
    assert_eq!(status("old"), 401);
    replace(&secure.web_config(), &web_config(&user("bob", "new")));
    until("alice is nobody any more", SOON, || (status("new") == 401).then_some(()));
}

#[test]
fn a_web_config_that_is_wrong_is_named_with_its_line_and_nothing_starts() {
    let folder = TemporaryFolder::new();
    let file = folder.file("web.yml");
    let socket = folder.file("keepwatch.sock");
    let refused = |text: &str, words: &[&str]| {
        std::fs::write(&file, text).expect("write a web config");
        let mut command = keepwatch(["run", "--listen", "127.0.0.1:0", "--web-config-file"]);
        let output = command.arg(&file).arg("--socket").arg(&socket).output();
        assert_refused(&output.expect("start keepwatch"), 2, words);
        assert!(!socket.exists());
    };
    refused("tls_server_config:\n  cert_fil: x\n", &["web.yml:2", "cert_fil", "cert_file"]);
    refused(&web_config(""), &["web.yml:2", "tls_server_config.cert_file", "server.crt"]);
    refused(
        "basic_auth_users:\n  alice: opensesame\n",
        &["web.yml:2", "basic_auth_users.alice", "bcrypt"],
    );
    refused("a: [", &["web.yml:", "not YAML"]);
    refused("rate_limit: {interval: 1s, burst: 20}\n", &["web.yml:1", "rate_limit"]);
}
