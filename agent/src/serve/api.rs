//! The API, version 1: HTTP over a unix socket, for the commands. `client` is its other end.
//!
//! `GET /v1/sockets?filter=JSON` streams rows, one JSON object a line; `GET /v1/events?wanted=JSON`
//! what happens, until the client goes; `GET /v1/status` is one. For a live view there are `/v1/page` and
//! `/v1/timeline` (see `page`).

use super::{
    Shared, SharedState,
    client_limits::{Guard, ServerLimits},
    events, fresh_look, in_and_out, past,
    places::PlaceRules,
    status::AgentStatus,
    top_api,
};
use crate::{
    kernel::clock,
    model::observed::socket::Time,
    view::{filter::Filter, row_json::RowWriter, table_rows},
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse as _, Response},
    routing::get,
};
use http_body::Frame;
use serde::Deserialize;
use std::{
    convert::Infallible,
    io,
    os::unix::net::UnixListener,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

/// A command that pauses in a pager pauses for a person.
const LIMITS: ServerLimits = ServerLimits {
    places: PlaceRules { n: 48, to_ask: Duration::from_millis(250), to_take: None },
    request_bytes: 64 << 10,
    request: Duration::from_secs(10),
    answer: Duration::from_mins(10),
};

/// What is done while the table is locked: until a part has this number of bytes, or these slots were looked at. Some
/// 50 us either way; and below what the allocator returns to the system each time (`kernel::heap_trim`).
const PART_BYTES: usize = 64 << 10;
const PART_SLOTS: u32 = 1024;
/// Slots between two looks at the bytes.
const STEP: u32 = 16;
/// More than the rows of one step take.
const STEP_BYTES: usize = 32 << 10;

/// Serves the API until `shutdown`.
pub(crate) async fn serve_api(
    listener: UnixListener,
    shared: Arc<Shared>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let caught_up = middleware::from_fn_with_state(Arc::clone(&shared), fresh_look::caught_up);
    let routes =
        routes().with_state(shared).layer(caught_up).layer(middleware::from_fn(in_and_out));
    axum::serve(Guard::new(listener, LIMITS), routes).with_graceful_shutdown(shutdown).await
}

fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/sockets", get(sockets))
        .route("/v1/events", get(events::events))
        .route("/v1/deaths", get(past::deaths))
        .route("/v1/deaths/count", get(past::death_count))
        .route("/v1/calls", get(past::calls))
        .route("/v1/not-kept", get(past::not_kept))
        .route("/v1/limits", get(past::limits))
        .route("/v1/page", get(top_api::page))
        .route("/v1/timeline", get(top_api::timeline))
        .route("/v1/status", get(status))
        .fallback(|| async {
            let message = "no such path; the API is /v1/sockets, /v1/events, /v1/page, /v1/timeline, \
                           /v1/deaths, /v1/deaths/count, /v1/calls, /v1/not-kept, /v1/limits, /v1/status (docs/API.md)\n";
            (StatusCode::NOT_FOUND, message)
        })
}

async fn status(State(shared): SharedState) -> Response {
    match serde_json::to_string(&AgentStatus::new(&shared)) {
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
    /// As they are now, if that is cheap.
    #[serde(default)]
    fresh: bool,
}

async fn sockets(
    State(shared): SharedState,
    query: Result<Query<SocketsQuery>, QueryRejection>,
) -> Response {
    let asked = match query {
        Ok(Query(SocketsQuery { filter: None, fresh })) => Ok((Filter::default(), fresh)),
        Ok(Query(SocketsQuery { filter: Some(json), fresh })) => {
            let filter = serde_json::from_str(&json).map_err(|error| format!("filter: {error}"));
            filter.map(|filter| (filter, fresh))
        }
        Err(rejection) => Err(rejection.body_text()),
    };
    match asked {
        Ok((filter, fresh)) => {
            if fresh {
                fresh_look::look_again(&shared).await;
            }
            let now = clock::now();
            let rows = Rows { shared, filter, now, next: Some(0), has_rested: true };
            ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(rows)).into_response()
        }
        Err(message) => (StatusCode::BAD_REQUEST, format!("{message}\n")).into_response(),
    }
}

/// The rows that a filter admits, part by part: never the whole table at once, neither locked nor in
/// memory.
struct Rows {
    shared: Arc<Shared>,
    filter: Filter,
    /// The moment of all rows.
    now: Time,
    /// The slot to go on with.
    next: Option<u32>,
    /// Whether others have had their turn since the last part.
    has_rested: bool,
}

impl Rows {
    /// The lines of the part that begins at slot `from`.
    fn part(&mut self, from: u32) -> Vec<u8> {
        let mut lines = Vec::with_capacity(PART_BYTES + STEP_BYTES);
        // The table is whole between two calls, even if the writer has panicked.
        let table = self.shared.table.lock().unwrap_or_else(PoisonError::into_inner);
        let around = self.filter.surroundings(table.surroundings());
        let mut writer = RowWriter::default();
        let end = from.saturating_add(PART_SLOTS);
        let mut next = Some(from);
        while let Some(from) = next.filter(|&from| from < end && lines.len() < PART_BYTES) {
            next = table_rows::scan(
                &table,
                &self.filter,
                &around,
                from,
                STEP,
                self.now,
                |socket, owners, identity| {
                    writer.write(&mut lines, socket, owners, identity, &around, self.now);
                },
            );
        }
        self.next = next;
        lines
    }
}

impl http_body::Body for Rows {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(from) = self.next else {
            return Poll::Ready(None);
        };
        self.has_rested = !self.has_rested;
        if self.has_rested {
            // A scrape waits for one part, not for a million sockets.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let lines = self.part(from);
        Poll::Ready(Some(Ok(Frame::data(lines.into()))))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{
        super::{
            client,
            tests_support::{shared, while_serving},
        },
        *,
    };
    use crate::{
        model::observed::socket::State as TcpState,
        view::{row::Row, value_enum::VerdictChoice},
    };
    use std::{
        collections::BTreeSet,
        io::{Read as _, Write as _},
        os::unix::net::UnixStream,
        path::{Path, PathBuf},
    };

    pub(in crate::serve) fn with_agent<T>(
        name: &str,
        n_sockets: u64,
        client: impl FnOnce(&Path) -> T,
    ) -> T {
        let name = format!("keepwatch-api-{name}-{}", std::process::id());
        let path: PathBuf = std::env::temp_dir().join(name);
        drop(std::fs::remove_file(&path));
        let listener = UnixListener::bind(&path).unwrap();
        let server = move |stopped| {
            serve_api(listener, shared(n_sockets), async {
                drop::<Result<(), _>>(stopped.await);
            })
        };
        let result = while_serving(server, || client(&path));
        std::fs::remove_file(&path).unwrap();
        result
    }

    #[test]
    fn every_row_arrives_once_however_many_parts_there_are() {
        with_agent("rows", 10_000, |path| {
            let mut ids = BTreeSet::new();
            let mut n_rows = 0;
            client::sockets(path, &Filter::default(), |row| {
                n_rows += 1;
                assert!(row.meaning.contains("keepalive is off"));
                ids.insert(row.id().to_owned())
            })
            .unwrap();
            assert_eq!((n_rows, ids.len()), (10_000, 10_000));
        });
    }

    #[test]
    fn lines_are_the_rows_as_serde_writes_them_and_of_one_moment() {
        with_agent("lines", 3_000, |path| {
            let mut lines = String::new();
            client::socket_lines(path, &Filter::default(), |some| {
                lines.push_str(std::str::from_utf8(some).unwrap());
                true
            })
            .unwrap();
            let rows: Vec<Row> =
                lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let ids: BTreeSet<&str> = rows.iter().map(Row::id).collect();
            assert_eq!((rows.len(), ids.len()), (3_000, 3_000));
            for (line, row) in lines.lines().zip(&rows) {
                assert_eq!(line, serde_json::to_string(row).unwrap());
            }
            // They were all seen at the same moment, long ago, so they have been quiet for as long.
            let quiet = rows[0].connection.quiet_seconds;
            let is_as_quiet = |row: &Row| row.connection.quiet_seconds.total_cmp(&quiet).is_eq();
            assert!(quiet > 10.0 && rows.iter().all(is_as_quiet), "{quiet}");
        });
    }

    #[test]
    fn no_part_is_longer_than_the_allocator_keeps_however_long_the_rows_are() {
        let mut rows = Rows {
            shared: shared(5_000),
            filter: Filter::default(),
            now: clock::now(),
            next: Some(0),
            has_rested: true,
        };
        let mut lens = Vec::new();
        while let Some(from) = rows.next {
            let part = rows.part(from);
            assert!(part.capacity() < 128 << 10, "{}", part.capacity());
            lens.push(part.len());
        }
        let n_full = lens.iter().filter(|&&len| len >= PART_BYTES).count();
        assert!(n_full > 20 && lens.len() < 3 * n_full, "{lens:?}");
    }

    #[test]
    fn the_agent_filters() {
        with_agent("filter", 3_000, |path| {
            let count = |filter: Filter| {
                let mut n_rows = 0;
                client::sockets(path, &filter, |_| {
                    n_rows += 1;
                    true
                })
                .map(|()| n_rows)
                .unwrap()
            };
            let peer = vec!["172.16.0.0/16".parse().unwrap()];
            let off = vec![VerdictChoice::Unprotected];
            assert_eq!(count(Filter { peer, verdict: off, ..Filter::default() }), 3_000);
            let listeners = vec![TcpState::Listen];
            assert_eq!(count(Filter { state: listeners, ..Filter::default() }), 0);
            let process = vec!["no\"such & name=é".to_owned()];
            assert_eq!(count(Filter { process, ..Filter::default() }), 0);
        });
    }

    #[test]
    fn an_answer_that_is_to_be_fresh_comes_also_if_nobody_takes_a_snapshot() {
        with_agent("fresh", 10, |path| {
            let mut n_rows = 0;
            client::fresh_sockets(path, &Filter::default(), |_| {
                n_rows += 1;
                true
            })
            .unwrap();
            assert_eq!(n_rows, 10);
        });
    }

    #[test]
    fn a_client_that_has_enough_stops() {
        with_agent("stop", 10_000, |path| {
            let mut n_rows = 0;
            client::sockets(path, &Filter::default(), |_| {
                n_rows += 1;
                n_rows < 5
            })
            .unwrap();
            assert_eq!(n_rows, 5);
            assert_eq!(client::status(path).unwrap().sockets, 10_000);
        });
    }

    #[test]
    fn the_status_says_who_runs_since_when() {
        with_agent("status", 1, |path| {
            let status = client::status(path).unwrap();
            assert_eq!(status.pid, std::process::id());
            assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
            assert_eq!(status.unready, None);
            assert!((status.started_unix_seconds - 1.7e9).abs() < 0.1);
        });
    }

    #[test]
    fn a_bad_request_is_answered_with_what_is_wrong() {
        let ask = |path: &Path, head: &str| {
            let mut stream = UnixStream::connect(path).unwrap();
            stream.write_all(format!("{head} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        with_agent("bad", 1, |path| {
            for (head, status, words) in [
                ("GET /v1/sockets?filter=%7B%22port%22:[%22x%22]%7D", "400", "expected u16"),
                ("GET /v1/sockets?filter=nonsense", "400", "expected"),
                ("GET /v1/sockets?port=80", "400", "unknown field `port`"),
                ("GET /v2/sockets", "404", "/v1/sockets"),
                ("POST /v1/sockets", "405", "allow: GET,HEAD"),
            ] {
                let answer = ask(path, head);
                assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
                assert!(answer.contains(words), "{head}: {answer}");
            }
            let answer = ask(path, "GET /v1/sockets");
            assert!(answer.contains("content-type: application/x-ndjson"), "{answer}");
        });
    }
}
