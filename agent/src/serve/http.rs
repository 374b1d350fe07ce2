//! The metrics endpoint: what Prometheus, an orchestrator and a person with a browser ask for.

use super::{
    Reader, Shared,
    format::Format,
    guard::{Guard, Limits},
    metrics,
    process::Process,
    serve_routes, unready,
};
use crate::{
    kernel::clock,
    model::{snapshot::Snapshot, socket::Direction, verdict::Verdict, words::duration},
};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse as _, Response},
    routing::get,
};
use std::{io, net::TcpListener, sync::Arc, time::Duration};

/// Ten seconds are what Prometheus waits for a scrape by default.
const LIMITS: Limits = Limits {
    n_connections: 32,
    request_bytes: 16 << 10,
    request: Duration::from_secs(10),
    answer: Duration::from_secs(10),
};

/// Serves metrics until `shutdown`.
pub async fn serve_http(
    listener: TcpListener,
    shared: Arc<Shared>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_within(LIMITS, listener, shared, shutdown).await
}

async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    shared: Arc<Shared>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    serve_routes(Guard::new(listener, limits), routes(), shared, shutdown).await
}

fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(landing))
        .route("/metrics", get(scrape))
        .route("/-/healthy", get(|| async { "keepwatch is healthy\n" }))
        .route("/-/ready", get(ready))
        .fallback(|| async { (StatusCode::NOT_FOUND, "nothing here; try /metrics\n") })
}

async fn scrape(State(shared): Reader, headers: HeaderMap) -> Response {
    // Several fields of one name mean the same as one with commas (RFC 9110, 5.3).
    let accept: Vec<_> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let format = Format::negotiate(Some(&accept.join(",")));
    let process = Process::read(shared.started_at_seconds);
    match metrics::encode(shared.picture(), process, format) {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot encode the metrics: {error}\n"),
        )
            .into_response(),
    }
}

async fn ready(State(shared): Reader) -> Response {
    match unready(&shared.picture().health) {
        None => "keepwatch is ready\n".into_response(),
        Some(reason) => {
            let reason = format!("keepwatch is not ready: {reason}\n");
            (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
        }
    }
}

async fn landing(State(shared): Reader) -> Response {
    let rows: Vec<String> = glance(&shared.picture(), clock::unix_seconds())
        .into_iter()
        .map(|Glance { what, grade, text }| {
            format!("<tr><th>{what}</th><td class=\"{grade}\">{text}</td></tr>")
        })
        .collect();
    let page = include_str!("landing.html")
        .replace("{version}", env!("CARGO_PKG_VERSION"))
        .replace("{rows}", &rows.join("\n"));
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response()
}

/// A line of the landing page. No text in it is chosen by anybody but us.
struct Glance {
    what: &'static str,
    /// `good`, `bad`, or nothing to judge.
    grade: &'static str,
    text: String,
}

/// Health in a few lines.
fn glance(snapshot: &Snapshot, unix_seconds: f64) -> Vec<Glance> {
    let health = &snapshot.health;
    let graded = |what, is_good, text| Glance {
        what,
        grade: if is_good { "good" } else { "bad" },
        text,
    };
    let plain = |what, text| Glance {
        what,
        grade: "",
        text,
    };
    let n_lost = health.flow.dropped + health.flow.undecodable;
    let (n_hooks, n_attached) = (
        health.hooks.len(),
        health
            .hooks
            .iter()
            .filter(|(.., attached)| *attached)
            .count(),
    );
    let mut lines = vec![
        match unready(health) {
            None => graded("Ready", true, "yes".to_owned()),
            Some(reason) => graded("Ready", false, format!("no: {reason}")),
        },
        graded(
            "Hooks",
            n_attached == n_hooks,
            format!("{n_attached} of {n_hooks} attached"),
        ),
        graded("Events lost", n_lost == 0, n_lost.to_string()),
    ];
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
                .series
                .iter()
                .filter(|(series, _)| series.direction == direction && series.verdict == verdict)
                .map(|(_, counts)| counts.sockets)
                .sum();
            format!("{n} {}", verdict.as_str())
        });
        lines.push(plain(what, verdicts.join(" · ")));
    }
    lines
}
