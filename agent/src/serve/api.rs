//! The API, version 1: HTTP over a unix socket, for the commands. `client` is its other end.
//!
//! `GET /v1/sockets?filter=JSON` streams rows, one JSON object a line; `GET /v1/status` is one.

use super::{
    Reader, Shared,
    guard::{Guard, Limits},
    serve_routes,
    status::Status,
};
use crate::{kernel::clock, model::filter::Filter};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use http_body::Frame;
use serde::Deserialize;
use std::{
    io,
    os::unix::net::UnixListener,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

/// A command that pauses in a pager pauses for a person.
const LIMITS: Limits = Limits {
    n_connections: 16,
    request_bytes: 64 << 10,
    request: Duration::from_secs(10),
    answer: Duration::from_secs(600),
};

/// Slots that are looked at while the table is locked: about a millisecond.
const PART: u32 = 1024;

/// Serves the API until `shutdown`.
pub async fn serve_api(
    listener: UnixListener,
    shared: Arc<Shared>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    serve_routes(Guard::new(listener, LIMITS), routes(), shared, shutdown).await
}

fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/sockets", get(sockets))
        .route("/v1/status", get(status))
        .fallback(|| async {
            (
                StatusCode::NOT_FOUND,
                "no such path; the API is /v1/sockets, /v1/status\n",
            )
        })
}

async fn status(State(shared): Reader) -> Response {
    match serde_json::to_string(&Status::new(&shared.picture(), shared.started_at_seconds)) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => {
            let message = format!("cannot write the status: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SocketsQuery {
    filter: Option<String>,
}

async fn sockets(
    State(shared): Reader,
    query: Result<Query<SocketsQuery>, QueryRejection>,
) -> Response {
    let filter = match query {
        Ok(Query(SocketsQuery { filter: None })) => Ok(Filter::default()),
        Ok(Query(SocketsQuery { filter: Some(json) })) => {
            serde_json::from_str(&json).map_err(|error| format!("filter: {error}"))
        }
        Err(rejection) => Err(rejection.body_text()),
    };
    match filter {
        Ok(filter) => {
            let rows = Rows {
                shared,
                filter,
                next: Some(0),
                has_rested: true,
            };
            (
                [(header::CONTENT_TYPE, "application/x-ndjson")],
                Body::new(rows),
            )
                .into_response()
        }
        Err(message) => (StatusCode::BAD_REQUEST, format!("{message}\n")).into_response(),
    }
}

/// The rows that a filter admits, part by part: never the whole table at once, neither locked nor in
/// memory.
struct Rows {
    shared: Arc<Shared>,
    filter: Filter,
    /// The slot to go on with.
    next: Option<u32>,
    /// Whether others have had their turn since the last part.
    has_rested: bool,
}

impl Rows {
    /// The lines of the part that begins at slot `from`.
    fn part(&mut self, from: u32) -> Result<Vec<u8>, serde_json::Error> {
        let now = clock::now();
        let (rows, next) = {
            // The table is whole between two calls, even if the writer has panicked.
            let table = self
                .shared
                .table
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            table.rows(&self.filter, now, from, PART)
        };
        self.next = next;
        let mut lines = Vec::new();
        for row in rows {
            serde_json::to_writer(&mut lines, &row)?;
            lines.push(b'\n');
        }
        Ok(lines)
    }
}

impl http_body::Body for Rows {
    type Data = Bytes;
    type Error = serde_json::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, serde_json::Error>>> {
        let Some(from) = self.next else {
            return Poll::Ready(None);
        };
        self.has_rested = !self.has_rested;
        if self.has_rested {
            // A scrape waits for one part, not for a million sockets.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let lines = self.part(from)?;
        Poll::Ready(Some(Ok(Frame::data(lines.into()))))
    }
}
