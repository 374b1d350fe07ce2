//! Under which names metrics on loopback are served, and in which coding.

use super::HOST;
use flate2::read::GzDecoder;
use keepwatch_tests::answer::{agent::Agent, http::ask_at};
use std::io::Read as _;

#[test]
fn a_page_whose_name_leads_to_loopback_reads_nothing() {
    let agent = Agent::start(&["--allowed-hosts", "node1.example,node2.example"]);
    let status = |host: &str| {
        let header = format!("Host: {host}");
        ask_at(agent.address(), "/metrics", &[&header]).expect("an answer").status()
    };
    for host in ["localhost:10077", "127.0.0.1", "[::1]:10077", "NODE2.example:80"] {
        assert_eq!(status(host), 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "node3.example"] {
        assert_eq!(status(host), 421, "{host}");
    }
    let evil = ask_at(agent.address(), "/metrics", &["Host: evil.example"]).expect("an answer");
    assert!(evil.text().contains("--allowed-hosts"), "the way out: {}", evil.text());
}

#[test]
fn a_scrape_is_gzipped_for_clients_that_ask_for_it_and_the_same() {
    let agent = Agent::start(&[]);
    let get = |coding: &str| {
        let header = format!("Accept-Encoding: {coding}");
        ask_at(agent.address(), "/metrics", &[HOST, &header]).expect("an answer")
    };
    let gzipped = get("gzip");
    assert_eq!(gzipped.header("content-encoding"), Some("gzip"));
    assert!(gzipped.header("vary").is_some_and(|vary| vary.contains("accept-encoding")));
    let mut text = String::new();
    GzDecoder::new(&gzipped.body[..]).read_to_string(&mut text).expect("gzip");
    assert!(text.contains("# TYPE keepwatch_sockets gauge") && text.ends_with('\n'), "{text}");
    assert!(gzipped.body.len() * 3 < text.len(), "{} of {}", gzipped.body.len(), text.len());
    for coding in ["identity", "gzip;q=0", "br"] {
        let plain = get(coding);
        assert_eq!(plain.header("content-encoding"), None, "{coding}");
        assert!(plain.text().contains("# TYPE keepwatch_sockets gauge"));
    }
}
