//! What `keepwatch top` asks for, again and again: `GET /v1/page?pick=JSON` is one page of the
//! connections in order, with counts; `GET /v1/timeline?id=sk:1f` is what is remembered of one.
//! Neither costs more than a look at each socket, and the answers do not grow with their number.

use super::{Shared, SharedState};
use crate::{
    kernel::clock,
    model::observed::socket::SocketId,
    view::{
        event_row::EventRow,
        page::{Page, PageBuilder, PageRequest},
        table_rows,
    },
};
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use std::sync::PoisonError;

/// Slots that are looked at while the table is locked: about a millisecond.
const PART: u32 = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    pick: Option<String>,
}

pub(super) async fn page(
    State(shared): SharedState,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Response {
    let pick = match query {
        Ok(Query(PageQuery { pick: None })) => Ok(PageRequest::default()),
        Ok(Query(PageQuery { pick: Some(pick) })) => {
            serde_json::from_str::<PageRequest>(&pick).map_err(|error| format!("pick: {error}"))
        }
        Err(rejection) => Err(rejection.body_text()),
    };
    let pick = match pick {
        Ok(pick) => pick,
        Err(message) => return (StatusCode::BAD_REQUEST, format!("{message}\n")).into_response(),
    };
    match serde_json::to_string(&page_of(&shared, &pick).await) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => {
            let message = format!("cannot write the page: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
        }
    }
}

/// Part by part: a scrape waits for one part, not for a million sockets.
async fn page_of(shared: &Shared, pick: &PageRequest) -> Page {
    let mut picker = PageBuilder::new(pick);
    // One time for all: else those that are looked at last would seem quieter.
    let now = clock::now();
    let mut next = Some(0);
    while let Some(from) = next {
        next = {
            let table = shared.table.lock().unwrap_or_else(PoisonError::into_inner);
            let around = pick.filter.surroundings(table.surroundings());
            table_rows::scan(
                &table,
                &pick.filter,
                &around,
                from,
                PART,
                now,
                |socket, owners, identity| {
                    picker.offer(socket, owners, identity, &around, now);
                },
            )
        };
        tokio::task::yield_now().await;
    }
    picker.page()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimelineQuery {
    id: String,
}

pub(super) async fn timeline(
    State(shared): SharedState,
    query: Result<Query<TimelineQuery>, QueryRejection>,
) -> Response {
    let id = match query {
        Ok(Query(TimelineQuery { id })) => id.parse::<SocketId>(),
        Err(rejection) => Err(rejection.body_text()),
    };
    let lines = id.and_then(|id| {
        let happenings: Vec<_> = {
            let table = shared.table.lock().unwrap_or_else(PoisonError::into_inner);
            table.history(id).into_iter().flat_map(|history| table.replay(history)).collect()
        };
        let mut lines = Vec::new();
        for (happening, around) in &happenings {
            let row = EventRow::new(happening, clock::wall_time(happening.at), around);
            serde_json::to_writer(&mut lines, &row).map_err(|error| error.to_string())?;
            lines.push(b'\n');
        }
        Ok(lines)
    });
    match lines {
        Ok(lines) => ([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response(),
        Err(message) => (StatusCode::BAD_REQUEST, format!("{message}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use crate::serve::{api::tests::with_agent, client};
    use crate::{
        model::judgement::verdict::Verdict,
        view::{filter::Filter, page::PageRequest, value_enum::VerdictChoice},
    };

    #[test]
    fn a_page_of_a_large_table_is_small_and_counts_all() {
        with_agent("page", 5_000, |path| {
            let page =
                client::page(path, &PageRequest { limit: 20, ..PageRequest::default() }).unwrap();
            assert_eq!((page.rows.len(), page.found, page.counts.off), (20, 5_000, 5_000));
            assert_eq!(page.rows[0].id(), "sk:1");
            let next =
                client::page(path, &PageRequest { skip: 19, limit: 2, ..PageRequest::default() })
                    .unwrap();
            assert_eq!(next.rows[0].id(), page.rows[19].id());
        });
    }

    #[test]
    fn a_page_is_of_what_the_filter_admits() {
        with_agent("page-filter", 10, |path| {
            let filter = Filter {
                verdict: vec![VerdictChoice::One(Verdict::Protected)],
                ..Filter::default()
            };
            let page =
                client::page(path, &PageRequest { filter, limit: 9, ..PageRequest::default() })
                    .unwrap();
            assert_eq!((page.rows.len(), page.counts.total()), (0, 0));
        });
    }

    #[test]
    fn of_a_connection_to_which_nothing_happened_nothing_is_remembered() {
        with_agent("timeline", 1, |path| {
            assert_eq!(client::timeline(path, "sk:1").unwrap(), []);
            let error = client::timeline(path, "1").unwrap_err().to_string();
            assert!(error.contains("expected a socket id like sk:1f"), "{error}");
        });
    }
}
