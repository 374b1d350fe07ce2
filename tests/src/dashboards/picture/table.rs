//! Tables: rows joined from several answers, as Grafana's transformations `merge`, `organize`,
//! `sortBy` and `limit` do it. And bars of buckets.

use super::{
    escaped, text,
    value::{color, formatted},
};
use crate::dashboards::{mixin::Panel, prometheus::QueriedSeries};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One cell for each column.
type TableRow = BTreeMap<String, TableCell>;

#[derive(Clone, Debug, PartialEq)]
enum TableCell {
    Label(String),
    Number(f64),
}

/// A table of what each target answered.
pub(super) fn drawn(
    panel: &Panel,
    answers: &[Vec<QueriedSeries>],
    now: f64,
    n_lines: usize,
) -> String {
    let (columns, mut rows) = joined(panel, answers);
    let options = |id: &str| {
        panel.transformations.iter().find(|one| one["id"] == id).map(|one| &one["options"])
    };
    let sort =
        options("sortBy").map(|options| text(&options["sort"][0]["field"])).unwrap_or_default();
    let key = |row: &TableRow| match row.get(sort) {
        Some(TableCell::Number(number)) => *number,
        _ => f64::MIN,
    };
    rows.sort_by(|one, other| key(other).total_cmp(&key(one)));
    let limit = options("limit").and_then(|options| options["limitField"].as_u64()).unwrap_or(50);
    rows.truncate(n_lines.min(usize::try_from(limit).unwrap_or(50)));
    let mut html = "<table><tr>".to_owned();
    for column in &columns {
        let arrow = if column == sort { " ↓" } else { "" };
        html += &format!("<th>{}{arrow}</th>", escaped(column));
    }
    for row in rows {
        html += "</tr><tr>";
        for column in &columns {
            html += &cell(panel, column, row.get(column), now);
        }
    }
    html + "</tr></table>"
}

fn cell(panel: &Panel, column: &str, cell: Option<&TableCell>, now: f64) -> String {
    let property = |id: &str| {
        let overrides = panel.field_config["overrides"].as_array().into_iter().flatten();
        let ours = overrides.filter(|one| one["matcher"]["options"] == column);
        let mut properties =
            ours.flat_map(|one| one["properties"].as_array().into_iter().flatten());
        properties.find(|one| one["id"] == id).map(|one| &one["value"])
    };
    match cell {
        None => "<td></td>".to_owned(),
        Some(TableCell::Label(label)) => {
            let class = if property("links").is_some() { "link" } else { "" };
            format!("<td class='{class}'>{}</td>", escaped(label))
        }
        Some(TableCell::Number(number)) => {
            let unit = property("unit").map_or("short", |unit| text(unit));
            let style =
                property("thresholds").map(|steps| format!("color:{}", color(*number, steps)));
            let decimals = property("decimals").and_then(Value::as_u64);
            let number = formatted(*number, unit, decimals, now);
            format!("<td class='number' style='{}'>{number}</td>", style.unwrap_or_default())
        }
    }
}

/// Rows whose labels do not disagree become one.
fn joined(panel: &Panel, answers: &[Vec<QueriedSeries>]) -> (Vec<String>, Vec<TableRow>) {
    let organize = panel.transformations.iter().find(|one| one["id"] == "organize");
    let options = organize.map_or(&Value::Null, |one| &one["options"]);
    let (renamed, order) = (&options["renameByName"], &options["indexByName"]);
    let mut columns: Vec<_> = order
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, at)| Some((at.as_u64()?, text(&renamed[name]).to_owned())))
        .collect();
    columns.sort_unstable();
    let mut rows: Vec<TableRow> = Vec::new();
    for (target, answer) in panel.targets.iter().zip(answers) {
        let value = if answers.len() == 1 { "Value" } else { &format!("Value #{}", target.ref_id) };
        let value = text(&renamed[value]);
        // A label that only some of the series have is empty in the others.
        let labels: BTreeSet<_> = answer.iter().flat_map(|series| series.labels.keys()).collect();
        for series in answer {
            let cells = labels.iter().filter_map(|label| {
                let value = series.labels.get(*label).cloned().unwrap_or_default();
                Some((renamed[*label].as_str()?.to_owned(), TableCell::Label(value)))
            });
            let mut row: TableRow = cells.collect();
            let known = rows.iter().position(|known| {
                let agrees = |(name, cell)| known.get(name).is_none_or(|other| other == cell);
                !known.contains_key(value) && row.iter().all(agrees)
            });
            row.insert(
                value.to_owned(),
                TableCell::Number(series.points.last().map_or(0.0, |(_, n)| *n)),
            );
            match known {
                Some(at) => rows[at].extend(row),
                None => rows.push(row),
            }
        }
    }
    (columns.into_iter().map(|(_, name)| name).collect(), rows)
}

/// Bars of cumulative buckets: each as what it has more than the one before.
pub(super) fn bars(answer: &[QueriedSeries], thresholds: &Value) -> String {
    let mut buckets: Vec<(f64, &str, f64)> = answer
        .iter()
        .filter_map(|series| {
            let le = series.labels.get("le")?;
            Some((le.trim_start_matches('+').parse().ok()?, le.as_str(), series.points.last()?.1))
        })
        .collect();
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    let below = [0.0].into_iter().chain(buckets.iter().map(|(_, _, count)| *count));
    let counts: Vec<_> = buckets
        .iter()
        .zip(below)
        .map(|((_, le, count), below)| (*le, (count - below).max(0.0)))
        .collect();
    let most = counts.iter().map(|(_, count)| *count).fold(1.0, f64::max);
    let mut html = "<div class='bars'>".to_owned();
    for (le, count) in counts {
        let (color, share) = (color(count, thresholds), count / most * 100.0);
        html += &format!(
            "<b>{le}</b><p><i style='width:{share:.1}%;background:{color}'></i></p><em style='color:{color}'>{count:.0}</em>"
        );
    }
    html + "</div>"
}
