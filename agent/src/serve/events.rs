//! `GET /v1/events?wanted=JSON`: what happens, one JSON object a line, until the client goes. An empty
//! line every few seconds says that the agent lives; one stands at the beginning, and one after what is remembered.

use super::{MAX_STREAMS, Shared, SharedState};
use crate::{
    advice::kept_clues::KeptClues,
    kernel::clock,
    model::{
        judgement::{verdict::Surroundings, worth::Worth},
        observed::socket::Time,
        table::{
            happening::{Happened, Happening, News, Notice},
            histories::ConnectionHistory,
        },
    },
    view::{
        event_filter::{EventFilter, EventPicker},
        event_row::{EventRow, NoticeRow},
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
    collections::BTreeMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{
        Semaphore,
        broadcast::{Receiver, error::RecvError},
        mpsc,
    },
    time::{Instant, timeout_at},
};

/// The longest pause between two pieces. A client that reads nothing for several of these takes the agent for dead
/// (`client::PATIENCE`).
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_secs(3);

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
            // What is remembered is a short answer: it is no stream.
            let streams = (!wanted.past_only).then(|| Arc::clone(&shared.streams));
            let Ok(place) = streams.map(Semaphore::try_acquire_owned).transpose() else {
                let message = format!(
                    "{MAX_STREAMS} streams of events are open already: end one of them (`keepwatch trace`, or what \
                     reads /v1/events); other requests are answered\n"
                );
                return (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
            };
            // First the ear, then the past: nothing falls in between.
            let news = shared.news.subscribe();
            let (pieces, body) = mpsc::channel(PIECES);
            tokio::spawn(async move {
                pass_on(shared, wanted, news, pieces, SIGN_OF_LIFE).await;
                drop(place);
            });
            ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(Pieces(body)))
                .into_response()
        }
        Err(message) => (StatusCode::BAD_REQUEST, format!("{message}\n")).into_response(),
    }
}

/// Passes on what is wanted until the client goes, or the agent ends. Whatever happens on the host, at most
/// `sign_of_life` passes between two pieces, and no piece is empty: HTTP sends nothing for an empty one.
async fn pass_on(
    shared: Arc<Shared>,
    wanted: EventFilter,
    mut news: Receiver<Arc<News>>,
    pieces: mpsc::Sender<Bytes>,
    sign_of_life: Duration,
) {
    // At once, so that the client knows that it is heard.
    let mut lines = b"\n".to_vec();
    if wanted.past || wanted.past_only {
        for (happening, around) in past(&shared, &wanted) {
            push_event(&mut lines, &shared.clues, &happening, &around);
        }
        // That was the past.
        lines.push(b'\n');
    }
    let past_only = wanted.past_only;
    let mut picker = EventPicker::new(wanted);
    let mut n_expected = None;
    let mut next_sign = Instant::now();
    loop {
        // News of others do not count: the client hears of them as little as of a dead agent.
        if lines.is_empty() && Instant::now() >= next_sign {
            lines.push(b'\n');
        }
        if !lines.is_empty() {
            if pieces.send(std::mem::take(&mut lines).into()).await.is_err() || past_only {
                return;
            }
            next_sign = Instant::now() + sign_of_life;
        }
        match timeout_at(next_sign, news.recv()).await {
            Err(_) | Ok(Err(RecvError::Lagged(_))) => {}
            Ok(Ok(news)) => {
                // Those that went by while this client was slow.
                let n_missed = news.n_before - n_expected.unwrap_or(news.n_before);
                n_expected =
                    Some(news.n_before + u64::try_from(news.happenings.len()).unwrap_or(0));
                let missed =
                    (n_missed > 0).then_some(Notice::Lost { events: n_missed, skipped: 0 });
                let notices: Vec<Notice> =
                    missed.into_iter().chain(news.notices.iter().copied()).collect();
                let around = picker.surroundings(Arc::clone(&news.around));
                let picked = picker.pick(&news.happenings, &around);
                lines = lines_of(&shared.clues, &around, &picked, &notices);
            }
            Ok(Err(RecvError::Closed)) => return,
        }
    }
}

/// What is remembered and wanted, oldest first, each with what its verdict depended on then.
fn past(shared: &Shared, wanted: &EventFilter) -> Vec<(Happening, Arc<Surroundings>)> {
    let table = shared.table.lock().unwrap_or_else(PoisonError::into_inner);
    let all: Vec<&ConnectionHistory> = match wanted.dead {
        Some(most) => latest(table.histories(), wanted, most),
        None => table.histories().collect(),
    };
    let all = all.into_iter().flat_map(|history| table.replay(history));
    let measured = all.map(|(happening, around)| (happening, wanted.filter.surroundings(around)));
    let offset_ns = clock::unix_offset_ns();
    let is_of_then =
        |happening: &Happening| wanted.is_within(clock::unix_ns(happening.at, offset_ns));
    let mut past: Vec<_> =
        measured.filter(|(it, around)| is_of_then(it) && wanted.admits(it, around)).collect();
    drop(table);
    past.sort_by_key(|(happening, _)| happening.at);
    past
}

/// Those that live, and of those that died with a wanted death as many of each worth, the latest.
fn latest<'a>(
    all: impl Iterator<Item = &'a ConnectionHistory>,
    wanted: &EventFilter,
    most: usize,
) -> Vec<&'a ConnectionHistory> {
    let mut chosen = Vec::new();
    let mut dead: BTreeMap<Worth, Vec<(Time, &ConnectionHistory)>> = BTreeMap::new();
    for history in all {
        match history.worth() {
            None => chosen.push(history),
            Some(worth) => {
                if let Some((death, around)) = history.replay().last()
                    && wanted.admits(&death, &around)
                {
                    dead.entry(worth).or_default().push((death.at, history));
                }
            }
        }
    }
    for mut dead in dead.into_values() {
        dead.sort_unstable_by_key(|&(at, _)| std::cmp::Reverse(at));
        chosen.extend(dead.into_iter().take(most).map(|(_, history)| history));
    }
    chosen
}

fn push_event(
    lines: &mut Vec<u8>,
    clues: &KeptClues,
    happening: &Happening,
    around: &Surroundings,
) {
    let mut row = EventRow::new(happening, clock::wall_time(happening.at), around);
    // Its process may have ended by now.
    let is_end = matches!(happening.what, Happened::Died(_) | Happened::GivenUp);
    if let Some(owner) = happening.socket.owner.filter(|_| is_end) {
        row.details.clues = clues.of(owner.pid, happening.at).as_deref().cloned();
    }
    push(lines, &row);
}

fn lines_of(
    clues: &KeptClues,
    around: &Surroundings,
    happenings: &[Happening],
    notices: &[Notice],
) -> Vec<u8> {
    let mut lines = Vec::new();
    for notice in notices {
        let now = clock::now();
        push(&mut lines, &NoticeRow::new(*notice, now, clock::wall_time(now)));
    }
    for happening in happenings {
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

#[cfg(test)]
mod tests {
    use super::{super::tests_support::shared, *};
    use crate::model::{
        judgement::{
            death::{Cause, Death},
            idle_limit::{IdleLimit, Limits},
        },
        observed::{
            ending::Ending,
            socket::{Socket, SocketId, State, tests_support::socket},
        },
        table::{happening::Happened, histories::Histories},
    };
    use crate::view::value_enum::EventChoice;

    /// Long beside a tick of the scheduler, short beside the patience of a person who runs tests.
    const SIGN: Duration = Duration::from_millis(200);

    fn opened(port: u16, n_before: u64) -> Arc<News> {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Arc::new(Surroundings::new(limits, 250));
        let mut socket = Socket { ..socket() };
        socket.remote.port = port;
        let happenings = vec![Happening::new(socket.at, socket, Happened::Opened)];
        Arc::new(News { n_before, happenings, notices: Vec::new(), around })
    }

    fn wanted() -> EventFilter {
        serde_json::from_value(
            serde_json::json!({ "event": ["opened"], "filter": { "port": [5432] } }),
        )
        .unwrap()
    }

    /// The pieces of a stream beside one event of another connection every quarter of a sign of life, until
    /// `enough` of them.
    async fn pieces_beside(n_pieces: usize, port: u16) -> Vec<Bytes> {
        let shared = shared(1);
        let (pieces, mut body) = mpsc::channel(PIECES);
        let news = shared.news.subscribe();
        let stream = tokio::spawn(pass_on(Arc::clone(&shared), wanted(), news, pieces, SIGN));
        let host = tokio::spawn(async move {
            for n_before in 0.. {
                drop(shared.news.send(opened(port, n_before)));
                tokio::time::sleep(SIGN / 4).await;
            }
        });
        let mut got = Vec::new();
        while got.len() < n_pieces {
            let piece = timeout_at(Instant::now() + SIGN * 50, body.recv()).await;
            got.push(piece.expect("a sign of life on a busy host").unwrap());
        }
        host.abort();
        stream.abort();
        got
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn a_stream_whose_filter_matches_nothing_shows_life_however_much_others_do() {
        let pieces = run(pieces_beside(5, 80));
        assert!(pieces.iter().all(|piece| &piece[..] == b"\n"), "{pieces:?}");
    }

    #[test]
    fn what_is_wanted_comes_at_once_and_needs_no_sign_of_life() {
        let pieces = run(pieces_beside(5, 5432));
        assert_eq!(&pieces[0][..], b"\n", "the client is heard");
        for piece in &pieces[1..] {
            assert!(piece.ends_with(b"}\n"), "{piece:?}");
        }
    }

    #[test]
    fn of_the_dead_the_latest_of_each_worth_are_passed_on_and_all_that_live() {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings::new(limits, 250);
        let mut histories = Histories::new(100);
        let mut record = |id, what| {
            let at = Time(id * 1_000_000_000);
            let socket = Socket { id: SocketId(id), at, ..socket() };
            histories.record(&Happening::new(at, socket, what), &around);
        };
        let death = Death::of(&socket(), State::LastAck, Ending::default(), None).unwrap();
        for id in 1..=40 {
            record(id, Happened::Opened);
            let cause = if id % 2 == 0 { Cause::PeerReset } else { Cause::IdleDrop };
            if id <= 30 {
                record(id, Happened::Died(Death { cause, ..death }));
            }
        }
        let ids = |wanted: &EventFilter, most| {
            let found = latest(histories.iter(), wanted, most).into_iter();
            let mut ids: Vec<u64> = found.map(|history| history.socket.id.0).collect();
            ids.sort_unstable();
            ids
        };
        let event = vec![EventChoice::All];
        let all = EventFilter { event, ..EventFilter::default() };
        let mut expected: Vec<u64> = vec![27, 28, 29, 30];
        expected.extend(31..=40);
        assert_eq!(ids(&all, 2), expected);
        let another = crate::view::filter::Filter { port: vec![1], ..Default::default() };
        let wanted = EventFilter { filter: another, ..all };
        assert_eq!(ids(&wanted, 2), (31..=40).collect::<Vec<_>>(), "of the dead what is wanted");
    }
}
