//! `GET /v1/deaths?since=SECONDS&peer=CIDR...`, their number, `GET /v1/not-kept` and `GET /v1/limits`: what is known of
//! the past, one JSON object a line. Deaths come out of the history on disk, as any reader of the file would read them.

use super::{Shared, SharedState, events::Pieces};
use crate::{
    kernel::clock,
    model::judgement::{
        destination::Destination,
        idle_limit::{Applied, Limits},
        learned::LearnedRow,
        limits_met::{LimitInForce, LimitsMet},
    },
    store::{self, Query},
};
use axum::{
    body::{Body, Bytes},
    extract::{self, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, PoisonError};
use tokio::sync::mpsc;

/// Pieces that wait for a slow client: reading waits with them.
const PIECES: usize = 4;
/// Bytes of a piece, about.
const PIECE_BYTES: usize = 64 << 10;

pub(super) async fn deaths(
    State(shared): SharedState,
    query: Result<extract::Query<Query>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(extract::Query(query)) => query,
        Err(rejection) => return refused(&rejection),
    };
    let (pieces, body) = mpsc::channel(PIECES);
    let (opened, is_open) = tokio::sync::oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let reader = match store::HistoryReader::open(&shared.history.folder) {
            Ok(reader) => reader,
            Err(error) => return drop(opened.send(Err(error))),
        };
        if opened.send(Ok(())).is_ok() {
            send_deaths(&reader, &query, &pieces);
        }
    });
    match is_open.await {
        Ok(Ok(())) => lines(Body::new(Pieces::new(body))),
        Ok(Err(error)) => unavailable(&error),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the reader ended\n").into_response(),
    }
}

fn refused(rejection: &QueryRejection) -> Response {
    (StatusCode::BAD_REQUEST, format!("{}\n", rejection.body_text())).into_response()
}

fn unavailable(error: &store::Error) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()
}

pub(super) async fn death_count(
    State(shared): SharedState,
    query: Result<extract::Query<Query>, QueryRejection>,
) -> Response {
    match query {
        Ok(extract::Query(query)) => {
            read(shared, move |reader| Ok(vec![reader.count(&query)?])).await
        }
        Err(rejection) => refused(&rejection),
    }
}

/// A time, in Unix seconds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskedTimes {
    since: Option<f64>,
    until: Option<f64>,
}

pub(super) async fn not_kept(
    State(shared): SharedState,
    query: Result<extract::Query<AskedTimes>, QueryRejection>,
) -> Response {
    match query {
        Ok(extract::Query(AskedTimes { since, until })) => {
            read(shared, move |reader| reader.not_kept(since, until)).await
        }
        Err(rejection) => refused(&rejection),
    }
}

pub(super) async fn calls(State(shared): SharedState) -> Response {
    read(shared, store::HistoryReader::living_calls).await
}

/// A few lines out of the history.
async fn read<T: Serialize + Send + 'static>(
    shared: Arc<Shared>,
    ask: impl FnOnce(&store::HistoryReader) -> Result<Vec<T>, store::Error> + Send + 'static,
) -> Response {
    let asked = tokio::task::spawn_blocking(move || {
        store::HistoryReader::open(&shared.history.folder).and_then(|reader| ask(&reader))
    });
    match asked.await {
        Ok(Ok(rows)) => {
            let mut text = Vec::new();
            for row in rows {
                push(&mut text, &row);
            }
            lines(Body::from(text))
        }
        Ok(Err(error)) => unavailable(&error),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the reader ended\n").into_response(),
    }
}

/// The last line of `/v1/deaths`, if rows of the history were passed over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Unreadable {
    /// Deaths that a later version wrote, in words that this one does not know.
    pub(super) unreadable: u64,
}

/// Until the client goes. What cannot be read ends the answer in the middle of a line, so that nobody takes
/// it for whole.
fn send_deaths(reader: &store::HistoryReader, query: &Query, pieces: &mpsc::Sender<Bytes>) {
    let mut lines = Vec::new();
    let read = reader.deaths(query, |death| {
        push(&mut lines, &death);
        lines.len() < PIECE_BYTES || pieces.blocking_send(std::mem::take(&mut lines).into()).is_ok()
    });
    match read {
        Ok(0) => {}
        Ok(unreadable) => push(&mut lines, &Unreadable { unreadable }),
        Err(error) => lines.extend_from_slice(format!("{{\"error\":\"{error}").as_bytes()),
    }
    drop(pieces.blocking_send(lines.into()));
}

/// A fact that was learned; of a limit, with the one in force on that path.
#[derive(Debug, Serialize)]
struct LearnedLine {
    #[serde(flatten)]
    row: LearnedRow,
    #[serde(flatten)]
    met: Option<LimitsMet>,
}

pub(super) async fn limits(State(shared): SharedState) -> Response {
    let mut text = Vec::new();
    for line in learned(&shared) {
        push(&mut text, &line);
    }
    lines(Body::from(text))
}

fn learned(shared: &Arc<Shared>) -> Vec<LearnedLine> {
    let table = shared.table.lock().unwrap_or_else(PoisonError::into_inner);
    let (rows, around) = (table.learned(clock::now()), table.surroundings());
    drop(table);
    let line = |row| LearnedLine { met: met(&row, &around.limits), row };
    rows.into_iter().map(line).collect()
}

fn met(row: &LearnedRow, limits: &Limits) -> Option<LimitsMet> {
    let LearnedRow::PathLimit(row) = row else {
        return None;
    };
    let destination: Destination = row.remote.parse().ok()?;
    let applied = limits.of_destination(&destination.in_netns(row.netns));
    let Applied { seconds, kept_seconds, from, path, .. } = applied;
    let (seconds, kept_seconds) = (*seconds, *kept_seconds);
    let in_force = LimitInForce { seconds, kept_seconds, from, path: path.as_deref() };
    Some(LimitsMet::of(in_force, row))
}

fn lines(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

fn push(lines: &mut Vec<u8>, row: &impl Serialize) {
    // No writer fails that writes into memory.
    if serde_json::to_writer(&mut *lines, row).is_ok() {
        lines.push(b'\n');
    }
}
