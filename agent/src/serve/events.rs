//! `GET /v1/events?wanted=JSON`: what happens, one JSON object a line, until the client goes. An empty
//! line every few seconds says that the agent lives.

use super::{Shared, SharedState};
use crate::{
    advice::kept_clues::KeptClues,
    kernel::clock,
    model::{
        judgement::verdict::Surroundings,
        table::{
            happening::{Happened, Happening, News, Notice},
            histories::ConnectionHistory,
        },
    },
    view::{
        event_row::{EventRow, NoticeRow},
        filter::EventFilter,
    },
};
use axum::{
    body::{Body, Bytes},
    extract::{Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use http_body::Frame;
use serde::{Deserialize, Serialize};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{
        broadcast::{Receiver, error::RecvError},
        mpsc,
    },
    time::timeout,
};

/// A client that hears nothing for longer than this may think that the agent hangs.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3);

/// Pieces that wait for a slow client; what happens meanwhile waits in the broadcast.
const PIECES: usize = 4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    wanted: Option<String>,
}

pub(super) async fn events(
    State(shared): SharedState,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Response {
    let wanted = match query {
        Ok(Query(EventsQuery { wanted: None })) => Ok(EventFilter::default()),
        Ok(Query(EventsQuery { wanted: Some(json) })) => {
            serde_json::from_str(&json).map_err(|error| format!("wanted: {error}"))
        }
        Err(rejection) => Err(rejection.body_text()),
    };
    match wanted {
        Ok(wanted) => {
            // First the ear, then the past: nothing falls in between.
            let news = shared.news.subscribe();
            let (pieces, body) = mpsc::channel(PIECES);
            tokio::spawn(pass_on(shared, wanted, news, pieces));
            ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(Pieces(body)))
                .into_response()
        }
        Err(message) => (StatusCode::BAD_REQUEST, format!("{message}\n")).into_response(),
    }
}

/// Passes on what is wanted until the client goes, or the agent ends.
async fn pass_on(
    shared: Arc<Shared>,
    wanted: EventFilter,
    mut news: Receiver<Arc<News>>,
    pieces: mpsc::Sender<Bytes>,
) {
    // At once, so that the client knows that it is heard.
    let mut lines = b"\n".to_vec();
    if wanted.past || wanted.past_only {
        for (happening, around) in past(&shared, &wanted) {
            push_event(&mut lines, &shared.clues, &happening, &around);
        }
    }
    let mut n_expected = None;
    loop {
        if pieces.send(lines.into()).await.is_err() {
            return;
        }
        if wanted.past_only {
            return;
        }
        lines = match timeout(SIGN_OF_LIFE, news.recv()).await {
            Err(_) => b"\n".to_vec(),
            Ok(Ok(news)) => {
                // Those that went by while this client was slow.
                let n_missed = news.n_before - n_expected.unwrap_or(news.n_before);
                n_expected =
                    Some(news.n_before + u64::try_from(news.happenings.len()).unwrap_or(0));
                let missed =
                    (n_missed > 0).then_some(Notice::Lost { events: n_missed, skipped: 0 });
                let notices: Vec<Notice> =
                    missed.into_iter().chain(news.notices.iter().copied()).collect();
                let around = wanted.filter.surroundings(Arc::clone(&news.around));
                lines_of(&shared.clues, &around, &wanted, &news.happenings, &notices)
            }
            Ok(Err(RecvError::Lagged(_))) => Vec::new(),
            Ok(Err(RecvError::Closed)) => return,
        };
    }
}

/// What is remembered and wanted, oldest first, each with what its verdict depended on then.
fn past(shared: &Shared, wanted: &EventFilter) -> Vec<(Happening, Arc<Surroundings>)> {
    let table = shared.table.lock().unwrap_or_else(PoisonError::into_inner);
    let all = table.histories().flat_map(ConnectionHistory::replay);
    let measured = all.map(|(happening, around)| (happening, wanted.filter.surroundings(around)));
    let mut past: Vec<_> =
        measured.filter(|(happening, around)| wanted.admits(happening, around)).collect();
    drop(table);
    past.sort_by_key(|(happening, _)| happening.at);
    past
}

fn push_event(
    lines: &mut Vec<u8>,
    clues: &KeptClues,
    happening: &Happening,
    around: &Surroundings,
) {
    let mut row = EventRow::new(happening, clock::wall_time(happening.at), around);
    if let (Happened::Died(_), Some(owner)) = (&happening.what, happening.socket.owner) {
        row.details.clues = clues.of(owner.pid, happening.at).as_deref().cloned();
    }
    push(lines, &row);
}

fn lines_of(
    clues: &KeptClues,
    around: &Surroundings,
    wanted: &EventFilter,
    happenings: &[Happening],
    notices: &[Notice],
) -> Vec<u8> {
    let mut lines = Vec::new();
    for notice in notices {
        let now = clock::now();
        push(&mut lines, &NoticeRow::new(*notice, now, clock::wall_time(now)));
    }
    for happening in happenings.iter().filter(|happening| wanted.admits(happening, around)) {
        push_event(&mut lines, clues, happening, around);
    }
    lines
}

fn push(lines: &mut Vec<u8>, row: &impl Serialize) {
    let len = lines.len();
    if serde_json::to_writer(&mut *lines, row).is_err() {
        lines.truncate(len); // no writer fails that writes into memory
    } else {
        lines.push(b'\n');
    }
}

/// The pieces, as they come.
pub(super) struct Pieces(mpsc::Receiver<Bytes>);

impl Pieces {
    pub(super) const fn new(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self(pieces)
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
