//! Clients that hold on to what they get: idle ones that come back, slow readers, streams, guessers of passwords.

use super::{HOST, SecureAgent, basic, user};
use keepwatch_tests::{
    answer::{
        agent::{Agent, keepwatch},
        http,
    },
    dashboards::prometheus::Prometheus,
    tool::TemporaryFolder,
    wait::{StopAtEnd, now, until},
};
use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::Duration,
};

/// What DESIGN promises of a scrape, whatever other clients do.
const A_SCRAPE: Duration = Duration::from_secs(1);

/// A client that says `words` and no more, waits until it is cut, and comes back, until `stop`.
fn come_back(to: SocketAddr, words: &[u8], stop: &AtomicBool, n_cut: &AtomicU32) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(to) else {
            continue;
        };
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        if stream.write_all(words).is_err() {
            continue;
        }
        let mut answer = [0; 4096];
        while !stop.load(Ordering::Relaxed) {
            match stream.read(&mut answer) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Ok(1..) => {}
                _ => {
                    n_cut.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
        }
    }
}

/// Runs `work` beside hostile clients.
fn beside(n: usize, to: SocketAddr, words: &[u8], work: impl FnOnce(&AtomicU32)) {
    let (stop, n_cut) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let _at_end = StopAtEnd(&stop);
        for _ in 0..n {
            scope.spawn(|| come_back(to, words, &stop, &n_cut));
        }
        work(&n_cut);
    });
}

/// Ten scrapes in a row, each within its time. Now and then: other work keeps the machine busy.
fn scrapes_are_quick(scrape: impl Fn() -> u16) {
    until("ten scrapes in a row that take less than a second each", super::SOON, || {
        let is_quick = |_| {
            let began = now();
            let status = scrape();
            status == 200 && began.elapsed() < A_SCRAPE
        };
        (0..10).all(is_quick).then_some(())
    });
}

#[test]
fn idle_clients_that_come_back_delay_no_scrape() {
    let agent = Agent::start(&[]);
    let scrape =
        || http::ask_at(agent.address(), "/metrics", &[HOST]).map_or(0, |answer| answer.status());
    for (n, words) in [
        (64, &b""[..]),
        (64, b"GET /metrics HTTP/1.1\r\nHost: "),
        (64, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b""),
    ] {
        beside(n, agent.address(), words, |n_cut| {
            scrapes_are_quick(scrape);
            if n > 256 {
                until("some have lost their place", super::SOON, || {
                    (n_cut.load(Ordering::Relaxed) > 100).then_some(())
                });
                scrapes_are_quick(scrape);
            }
        });
    }
}

#[test]
fn clients_in_the_middle_of_a_handshake_delay_no_scrape() {
    let secure = SecureAgent::start(&user("alice", "opensesame"));
    let (client, address) = (secure.client(), secure.agent.address());
    let headers = [HOST, &basic("alice", "opensesame")];
    let scrape = || client.get(address, "/metrics", &headers).map_or(0, |answer| answer.status());
    // The head of a record that never comes, and nothing.
    for (n, words) in [(64, &b"\x16\x03\x01\x02\x00\x01"[..]), (300, b"")] {
        beside(n, address, words, |_| scrapes_are_quick(scrape));
    }
}

#[test]
fn guessing_passwords_delays_no_scraper_that_is_known_and_costs_a_part_of_a_cpu() {
    // Each check takes some milliseconds here: the share is what counts.
    let hash = bcrypt::hash("opensesame", 8).expect("a hash");
    let secure = SecureAgent::start(&format!("basic_auth_users:\n  alice: {hash}\n"));
    let (client, address) = (secure.client(), secure.agent.address());
    let right = [HOST, &basic("alice", "opensesame")];
    let scrape = || client.get(address, "/metrics", &right).map_or(0, |answer| answer.status());
    assert_eq!(scrape(), 200);
    let (stop, n_guesses) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let _at_end = StopAtEnd(&stop);
        for n in 0..8 {
            let (client, stop, n_guesses) = (&client, &stop, &n_guesses);
            scope.spawn(move || {
                for guess in 0_u32.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let headers = [HOST, &basic("alice", &format!("{n}-{guess}"))];
                    if let Ok(answer) = client.get(address, "/metrics", &headers) {
                        assert!([401, 429].contains(&answer.status()), "{}", answer.head);
                        n_guesses.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        until("some have guessed", super::SOON, || {
            (n_guesses.load(Ordering::Relaxed) > 50).then_some(())
        });
        scrapes_are_quick(scrape);
    });
}

#[test]
fn open_streams_leave_places_for_answers_and_one_too_many_is_told() {
    let agent = Agent::start(&[]);
    let open = || {
        let mut stream = UnixStream::connect(agent.socket()).expect("connect");
        write!(stream, "GET /v1/events HTTP/1.1\r\nHost: keepwatch\r\n\r\n").expect("ask");
        let mut head = [0; 12];
        stream.read_exact(&mut head).expect("an answer");
        (stream, String::from_utf8_lossy(&head).into_owned())
    };
    let streams: Vec<_> = (0..16).map(|_| open()).collect();
    assert!(streams.iter().all(|(_, head)| head == "HTTP/1.1 200"), "{streams:?}");
    let (_, head) = open();
    assert_eq!(head, "HTTP/1.1 503");
    let trace = keepwatch(["trace", "--socket"]).arg(agent.socket()).output().expect("trace");
    let said = String::from_utf8_lossy(&trace.stderr).into_owned();
    assert!(said.contains("16 streams") && !trace.status.success(), "{said}");
    let began = now();
    agent.sockets(&[]);
    let past = keepwatch(["trace", "--past-only", "--socket"]).arg(agent.socket()).output();
    assert!(past.expect("trace").status.success(), "what is remembered is no stream");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(streams);
    until("places are free again", super::SOON, || (open().1 == "HTTP/1.1 200").then_some(()));
}

#[test]
fn a_real_prometheus_scrapes_through_tls_with_a_password_beside_hostile_clients_for_a_minute() {
    let secure = SecureAgent::start(&user("alice", "opensesame"));
    let address = secure.agent.address();
    let folder = TemporaryFolder::new();
    let authority = secure.folder.file("ca.crt");
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: keepwatch\n  scheme: https\n  \
         tls_config: {{ca_file: '{}'}}\n  basic_auth: {{username: alice, password: opensesame}}\n  \
         static_configs: [{{targets: ['{address}']}}]\n",
        authority.display()
    );
    fs::write(folder.file("prometheus.yml"), config).expect("write a config");
    beside(64, address, b"", |_| {
        let prometheus = Prometheus::in_folder(folder);
        let value = |query: &str| -> Option<f64> {
            Some(prometheus.query(query).first()?.points.first()?.1)
        };
        until("sixty scrapes are there, one a second", super::SOON * 4, || {
            value("count_over_time(up[5m])").filter(|&n| n >= 60.0)
        });
        assert_eq!(value("min_over_time(up[5m])"), Some(1.0), "{}", secure.agent.said());
        let longest = value("max_over_time(scrape_duration_seconds[5m])").expect("a duration");
        assert!(longest < A_SCRAPE.as_secs_f64(), "{longest}");
    });
}
