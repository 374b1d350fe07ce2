//! The metrics endpoint: what Prometheus, an orchestrator and a person with a browser ask for.

use super::{
    Shared, SharedState,
    basic_auth::{PasswordCheck, require_password},
    client_limits::{Guard, ServerLimits},
    host_check::require_own_name,
    in_and_out, needed_hooks,
    places::PlaceRules,
    scrape_cache::{Form, ScrapeCache},
    tls_listener::{ConnectionEnds, TlsListener},
};
use crate::{
    config::web::WebAccess,
    kernel::clock,
    metrics::{self, AgentProcess, ScrapeFormat},
    model::{
        judgement::verdict::Verdict, observed::socket::Direction, table::sums::Totals,
        text::duration::duration,
    },
};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode, header},
    middleware,
    response::{Html, IntoResponse as _, Response},
    routing::get,
};
use std::{io, net::TcpListener, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Ten seconds are what Prometheus waits for a scrape by default. As many idle clients as there are in the kernel's queue
/// and here lose their places in less than a second.
const LIMITS: ServerLimits = ServerLimits {
    places: PlaceRules {
        n: 256,
        to_ask: Duration::from_millis(100),
        to_take: Some(Duration::from_secs(1)),
    },
    request_bytes: 16 << 10,
    request: Duration::from_secs(10),
    answer: Duration::from_secs(10),
};

/// What clients must show to be served metrics.
#[derive(Clone, Debug)]
pub(crate) struct MetricsAccess {
    /// TLS and passwords.
    pub web: Arc<WebAccess>,
    /// Names besides those of loopback under which loopback is asked for.
    pub allowed_hosts: Arc<[String]>,
}

/// Serves metrics until `shutdown`.
pub(crate) async fn serve_http(
    listener: TcpListener,
    shared: Arc<Shared>,
    access: MetricsAccess,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_within(LIMITS, listener, shared, access, shutdown).await
}

async fn serve_within(
    limits: ServerLimits,
    listener: TcpListener,
    shared: Arc<Shared>,
    MetricsAccess { web, allowed_hosts }: MetricsAccess,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = Guard::new(TlsListener::new(listener, Arc::clone(&web))?, limits);
    let passwords = Arc::new(PasswordCheck::new(web)?);
    // The last is the first to see a request.
    let routes = routes()
        .with_state(shared)
        .layer(middleware::from_fn_with_state(passwords, require_password))
        .layer(middleware::from_fn_with_state(allowed_hosts, require_own_name))
        .layer(middleware::from_fn(in_and_out))
        .into_make_service_with_connect_info::<ConnectionEnds>();
    axum::serve(listener, routes).with_graceful_shutdown(shutdown).await
}

fn routes() -> Router<Arc<Shared>> {
    let cache = Arc::new(ScrapeCache::default());
    let scrape = move |State(shared): SharedState, headers: HeaderMap| {
        let written = scrape(&shared, &headers, &cache);
        async { written }
    };
    Router::new()
        .route("/", get(landing))
        .route("/metrics", get(scrape))
        .route("/-/healthy", get(|| async { "keepwatch is healthy\n" }))
        .route("/-/ready", get(ready))
        .fallback(|| async { (StatusCode::NOT_FOUND, "nothing here; try /metrics\n") })
}

fn scrape(shared: &Shared, headers: &HeaderMap, cache: &ScrapeCache) -> Response {
    // Several fields of one name mean the same as one with commas (RFC 9110, 5.3).
    let all = |name: HeaderName| {
        let values: Vec<_> =
            headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        values.join(",")
    };
    let format = ScrapeFormat::negotiate(Some(&all(header::ACCEPT)));
    let is_gzipped = metrics::takes_gzip(&all(header::ACCEPT_ENCODING));
    let written = cache.get(Form { format, is_gzipped }, Instant::now(), |format| {
        let process = AgentProcess::read(shared.started_at_seconds);
        let (history, reloads) = (shared.history.health.status(), shared.reloads.now());
        let sandbox = shared.sandbox.clone();
        metrics::encode(shared.totals(), process, history, reloads, sandbox, format)
    });
    let encoding = is_gzipped.then_some([(header::CONTENT_ENCODING, "gzip")]);
    let kind =
        [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept, accept-encoding")];
    match written {
        Ok(bytes) => match encoding {
            Some(encoding) => (kind, encoding, bytes).into_response(),
            None => (kind, bytes).into_response(),
        },
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot encode the metrics: {error}\n"))
                .into_response()
        }
    }
}

async fn ready(State(shared): SharedState) -> Response {
    match shared.unready() {
        None => "keepwatch is ready\n".into_response(),
        Some(reason) => {
            let reason = format!("keepwatch is not ready: {reason}\n");
            (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
        }
    }
}

async fn landing(State(shared): SharedState) -> Response {
    let rows: Vec<String> = glance(&shared.totals(), shared.unready(), clock::unix_seconds())
        .into_iter()
        .map(|Glance { what, grade, text }| {
            format!("<tr><th>{what}</th><td class=\"{grade}\">{text}</td></tr>")
        })
        .collect();
    let page = include_str!("landing.html")
        .replace("{version}", env!("CARGO_PKG_VERSION"))
        .replace("{rows}", &rows.join("\n"));
    let around =
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
    ([(header::CONTENT_SECURITY_POLICY, around)], Html(page)).into_response()
}

/// A line of the landing page. No text in it is chosen by anybody but us.
struct Glance {
    what: &'static str,
    /// `good`, `bad`, or nothing to judge.
    grade: &'static str,
    text: String,
}

/// Health in a few lines.
fn glance(snapshot: &Totals, unready: Option<String>, unix_seconds: f64) -> Vec<Glance> {
    let health = &snapshot.health;
    let graded =
        |what, is_good, text| Glance { what, grade: if is_good { "good" } else { "bad" }, text };
    let plain = |what, text| Glance { what, grade: "", text };
    let n_lost = health.flow.n_lost();
    let (n_hooks, n_attached) =
        (health.hooks.len(), health.hooks.iter().filter(|(.., attached)| *attached).count());
    let mut lines = vec![match unready {
        None => graded("Ready", true, "yes".to_owned()),
        Some(reason) => graded("Ready", false, format!("no: {reason}")),
    }];
    if health.without_ebpf.is_some() {
        lines.push(plain(
            "Read from",
            "/proc, without eBPF: events and deaths are not seen".to_owned(),
        ));
    } else {
        let are_attached = needed_hooks(health).all(|(_, attached)| attached);
        lines.push(graded("Hooks", are_attached, format!("{n_attached} of {n_hooks} attached")));
        lines.push(graded("Events lost", n_lost == 0, n_lost.to_string()));
    }
    if health.n_walks > 0 {
        let age = Duration::try_from_secs_f64(unix_seconds - health.walked_at_seconds);
        let age = duration(age.unwrap_or_default().as_secs());
        let text = format!("{age} ago, took {:.0} ms", health.walk_seconds * 1000.0);
        lines.push(plain("Last snapshot", text));
    }
    lines.push(match snapshot.n_untracked {
        0 => plain("Sockets", snapshot.n_tracked.to_string()),
        n => graded(
            "Sockets",
            false,
            format!("{}, and {n} too many for the table", snapshot.n_tracked),
        ),
    });
    for direction in Direction::ALL {
        let what = match direction {
            Direction::Outbound => "Outbound, established",
            Direction::Inbound => "Inbound, established",
        };
        let verdicts = Verdict::ALL.map(|verdict| {
            let n: u64 = snapshot
                .sockets
                .iter()
                .filter(|(series, _)| series.direction == direction && series.verdict == verdict)
                .map(|(_, n)| *n)
                .sum();
            format!("{n} {}", verdict.as_str())
        });
        lines.push(plain(what, verdicts.join(" · ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observed::socket::Time,
        serve::{
            tests_support::{shared, while_serving},
            unready,
        },
    };
    use std::{
        io::{ErrorKind, Read as _, Write as _},
        net::{SocketAddr, TcpStream},
    };

    fn with_agent<T>(limits: ServerLimits, client: impl FnOnce(SocketAddr) -> T) -> T {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let web = Arc::new(WebAccess::open(None).unwrap());
        let access = MetricsAccess { web, allowed_hosts: Arc::new([]) };
        let server = move |stopped| {
            serve_within(limits, listener, shared(3), access, async {
                drop::<Result<(), _>>(stopped.await);
            })
        };
        while_serving(server, || client(address))
    }

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.replace('\n', "\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(address: SocketAddr, path: &str) -> String {
        ask(address, &format!("GET {path} HTTP/1.1\nHost: localhost\n\n"))
    }

    #[test]
    fn each_path_has_its_answer_and_says_what_it_is() {
        with_agent(LIMITS, |address| {
            for (path, status, words) in [
                ("/metrics", "200", "content-type: text/plain; version=0.0.4"),
                (
                    "/metrics",
                    "200",
                    "\nkeepwatch_sockets{direction=\"outbound\",verdict=\"off\",path=\"\",namespace=\"~unknown\",workload=\"~unknown\",container=\"~unknown\",process=\"~unknown\"} 3\n",
                ),
                ("/-/healthy", "200", "keepwatch is healthy"),
                ("/-/ready", "200", "keepwatch is ready"),
                ("/", "200", "<a href=\"/metrics\">"),
                ("/", "200", "3 off"),
                ("/favicon.ico", "404", "/metrics"),
            ] {
                let answer = get(address, path);
                assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
                assert!(answer.contains(words), "{path}: {answer}");
                assert!(answer.contains("connection: close"), "{path}: {answer}");
            }
            let request = "GET /metrics HTTP/1.1\nHost: localhost\nAccept: text/plain;q=0.5\n\
                           Accept: application/openmetrics-text\n\n";
            assert!(ask(address, request).ends_with("# EOF\n"));
        });
    }

    #[test]
    fn there_is_nothing_but_reading() {
        with_agent(LIMITS, |address| {
            let head = ask(address, "HEAD /metrics HTTP/1.1\nHost: localhost\n\n");
            assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
            let post =
                ask(address, "POST /metrics HTTP/1.1\nHost: localhost\nContent-Length: 0\n\n");
            assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
            let body =
                ask(address, "GET /metrics HTTP/1.1\nHost: localhost\nContent-Length: 9\n\n");
            assert!(body.starts_with("HTTP/1.1 413 "), "{body}");
        });
    }

    /// Whether the server ends a connection on which it has sent nothing.
    fn is_cut(stream: &mut TcpStream) -> bool {
        let mut answer = Vec::new();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        match stream.read_to_end(&mut answer) {
            Ok(n) => n == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    #[test]
    fn a_client_that_does_not_finish_its_request_loses_its_place_to_one_that_does() {
        let places = PlaceRules { n: 2, ..LIMITS.places };
        let limits = ServerLimits { places, ..LIMITS };
        with_agent(limits, |address| {
            let mut slow: Vec<_> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
            for stream in &mut slow {
                stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: ").unwrap();
            }
            assert!(get(address, "/-/healthy").starts_with("HTTP/1.1 200 "));
            assert!(is_cut(&mut slow[0]));
            slow[1].write_all(b"localhost\r\n\r\n").unwrap();
            let mut answer = String::new();
            slow[1].read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "one place was needed: {answer}");
        });
    }

    #[test]
    fn a_client_that_never_finishes_is_cut_where_there_is_room_too() {
        let limits = ServerLimits { request: Duration::from_millis(300), ..LIMITS };
        with_agent(limits, |address| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").unwrap();
            assert!(is_cut(&mut stream));
        });
    }

    #[test]
    fn a_request_without_end_is_cut() {
        let limits = ServerLimits { request_bytes: 4096, ..LIMITS };
        with_agent(limits, |address| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
            let field = format!("X: {}\r\n", "x".repeat(1000));
            // Writing fails too, once the server has closed.
            let went_through = (0..10_000).all(|_| stream.write_all(field.as_bytes()).is_ok());
            assert!(!went_through || is_cut(&mut stream));
        });
    }

    #[test]
    fn a_glance_says_what_is_wrong() {
        let mut snapshot = Totals::default();
        let bad = |snapshot: &Totals| -> Vec<&str> {
            let unready = unready(&snapshot.health, Time::default());
            let lines = glance(snapshot, unready, 2e9).into_iter();
            lines.filter(|line| line.grade == "bad").map(|line| line.what).collect()
        };
        assert_eq!(bad(&snapshot), ["Ready"]);
        snapshot.health.n_walks = 1;
        assert!(bad(&snapshot).is_empty());
        let flow = &mut snapshot.health.flow;
        for stage in [&mut flow.skipped, &mut flow.unseen, &mut flow.undecodable] {
            *stage = 1;
        }
        assert_eq!(bad(&snapshot), ["Events lost"], "whatever the stage, as the metric has it");
        snapshot.health.hooks = vec![("destroy", "tp_btf/tcp_destroy_sock", false)];
        snapshot.n_untracked = 1;
        assert_eq!(bad(&snapshot), ["Ready", "Hooks", "Events lost", "Sockets"]);
    }
}
