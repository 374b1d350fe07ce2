//! What the agent knows of the past: deaths, their number, what is not kept, what was learned and is remembered.

use super::{super::past::Unreadable, Error, each_line, each_text, get, only, percent_encoded};
use crate::{
    model::judgement::{learned::LearnedRow, worth::Worth},
    store::{CallRow, DeathRow, NotKept, Query},
    view::event_row::EventRow,
};
use serde::de::IgnoredAny;
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// Deaths out of the agent's history, the latest first, until `each` returns false. How many there were that the agent
/// or this client cannot read: a later version wrote them, in words of its own.
pub(crate) fn deaths(
    path: &Path,
    query: &Query,
    mut each: impl FnMut(DeathRow) -> bool,
) -> Result<u64, Error> {
    let mut body = get(path, &format!("/v1/deaths?{}", parameters(path, query)?))?;
    let mut n_unreadable = 0;
    let read = each_text(&mut body, |line| {
        if let Ok(death) = serde_json::from_slice(line) {
            return Ok(each(death));
        }
        n_unreadable += match serde_json::from_slice(line) {
            Ok(Unreadable { unreadable }) => unreadable,
            // JSON it must be: else the answer is broken.
            Err(_) => serde_json::from_slice::<IgnoredAny>(line).map(|_| 1)?,
        };
        Ok(true)
    });
    read.map_err(|cause| Error::reading(path, cause))?;
    Ok(n_unreadable)
}

/// The number of deaths in the agent's history that a query finds, without its limit, by what they are worth.
pub(crate) fn death_count(path: &Path, query: &Query) -> Result<BTreeMap<Worth, u64>, Error> {
    let mut body = get(path, &format!("/v1/deaths/count?{}", parameters(path, query)?))?;
    only(&mut body).map_err(|cause| Error::reading(path, cause))
}

/// What happened from `since` on and before `until` (Unix seconds), and is not in the agent's history.
pub(crate) fn not_kept(
    path: &Path,
    since: Option<f64>,
    until: Option<f64>,
) -> Result<Vec<NotKept>, Error> {
    let window = Query { since, until, ..Query::default() };
    let mut body = get(path, &format!("/v1/not-kept?{}", parameters(path, &window)?))?;
    let mut rows = Vec::new();
    let each = |row| {
        rows.push(row);
        true
    };
    each_line(&mut body, each).map_err(|cause| Error::reading(path, cause))?;
    Ok(rows)
}

/// Calls on connections that live, out of the agent's history.
pub(crate) fn calls(path: &Path) -> Result<Vec<CallRow>, Error> {
    let mut rows = Vec::new();
    let mut body = get(path, "/v1/calls")?;
    let each = |row| {
        rows.push(row);
        true
    };
    each_line(&mut body, each).map_err(|cause| Error::reading(path, cause))?;
    Ok(rows)
}

/// A query as parameters of a URL.
fn parameters(path: &Path, query: &Query) -> Result<String, Error> {
    let query = serde_json::to_value(query)
        .map_err(|error| Error::Socket { path: path.to_owned(), cause: error.into() })?;
    let given = query.as_object().into_iter().flatten().filter_map(|(key, value)| match value {
        Value::Null => None,
        Value::String(text) => Some(format!("{key}={}", percent_encoded(text))),
        value => Some(format!("{key}={value}")),
    });
    Ok(given.collect::<Vec<_>>().join("&"))
}

/// Everything that the agent has learned, but for kinds of facts that only a newer one knows.
pub(crate) fn learned(path: &Path) -> Result<Vec<LearnedRow>, Error> {
    let mut rows = Vec::new();
    let mut body = get(path, "/v1/limits")?;
    let each = |row: Value| {
        rows.extend(serde_json::from_value::<LearnedRow>(row));
        true
    };
    each_line(&mut body, each).map_err(|cause| Error::reading(path, cause))?;
    Ok(rows)
}

/// What is remembered of one connection, oldest first.
pub(crate) fn timeline(path: &Path, id: &str) -> Result<Vec<EventRow>, Error> {
    let mut happenings = Vec::new();
    let mut body = get(path, &format!("/v1/timeline?id={}", percent_encoded(id)))?;
    each_line(&mut body, |happening| {
        happenings.push(happening);
        true
    })
    .map_err(|cause| Error::reading(path, cause))?;
    Ok(happenings)
}
