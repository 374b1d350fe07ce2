//! A dashboard as people will see it, about as Grafana draws it: each panel from what a real
//! Prometheus answers, as one page of HTML.
#![expect(
    clippy::indexing_slicing,
    reason = "part of the tests: JSON answers null to what it has not"
)]

mod chart;
mod table;
mod value;

use crate::dashboards::{
    mixin::{self, Board, GridPosition, Panel},
    prometheus::{self, QueriedSeries},
};
use serde_json::Value;
use std::net::SocketAddr;

/// Pixels of a page.
pub const WIDTH: f64 = 1600.0;
const MARGIN: f64 = 16.0;
const GAP: f64 = 8.0;
const ROW: f64 = 30.0;
const HEADER: f64 = 66.0;
const FOOTER: f64 = 34.0;
/// Grafana's own, for names without a fixed colour.
const PALETTE: [&str; 8] =
    ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#3aa6b9"];

/// What to draw from: where a Prometheus answers, until when, and for how long before that.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// Address and port of a Prometheus with the data.
    pub prometheus: SocketAddr,
    /// The right edge of the picture, Unix seconds.
    pub end: u32,
    /// The time range of the picture, seconds.
    pub seconds: u32,
    /// What the dashboard's variables are set to; the others to all.
    pub chosen: &'a [(&'a str, &'a str)],
}

impl Scene<'_> {
    /// What each target of a panel answers.
    pub fn ask(&self, panel: &Panel) -> Vec<Vec<QueriedSeries>> {
        let (end, seconds) = (self.end, self.seconds);
        let asked = panel.targets.iter().map(|target| {
            let expr =
                mixin::with_variables(&target.expr, &format!("{seconds}s"), "5m", self.chosen);
            let expr = prometheus::encoded(&expr);
            let path = if target.instant {
                format!("/api/v1/query?query={expr}&time={end}")
            } else {
                let (start, step) = (end - seconds, (seconds / 360).max(1));
                format!("/api/v1/query_range?query={expr}&start={start}&end={end}&step={step}")
            };
            prometheus::ask(self.prometheus, &path)
                .as_ref()
                .map(prometheus::series)
                .unwrap_or_default()
        });
        asked.collect()
    }
}

/// The page of a dashboard and its height. `note` stands at its foot.
pub fn page(board: &Board, scene: &Scene<'_>, note: &str) -> (String, f64) {
    let bottom =
        board.panels.iter().map(|panel| panel.grid_pos.y + panel.grid_pos.h).max().unwrap_or(0);
    let height = f64::from(bottom) * (ROW + GAP);
    let variables = board.templating.list.iter().filter(|one| one["type"] == "query");
    let chips = variables.fold(String::new(), |sum, one| {
        let mut chosen = scene.chosen.iter().filter(|(name, _)| one["name"] == *name);
        let value = chosen.next().map_or("All", |(_, value)| value);
        sum + "<span><b>" + text(&one["label"]) + "</b>" + &escaped(value) + "</span>"
    });
    let panels: String = board.panels.iter().map(|panel| drawn(panel, scene)).collect();
    let hours = scene.seconds / 3600;
    let page = format!(
        "<!doctype html><meta charset='utf-8'><title>{title}</title><style>{css}</style>
         <header><h1>{title}</h1>{chips}<span class='time'>Last {hours} hours</span></header>
         <main>{panels}<footer style='top:{height}px'>{}</footer></main>",
        escaped(note),
        title = escaped(&board.title),
        css = include_str!("page.css"),
    );
    (page, height + HEADER + FOOTER)
}

fn drawn(panel: &Panel, scene: &Scene<'_>) -> String {
    let GridPosition { x, y, w, h } = panel.grid_pos;
    let column = (WIDTH - 2.0 * MARGIN + GAP) / 24.0;
    let (left, top) = (f64::from(x) * column, f64::from(y) * (ROW + GAP));
    let (width, height) = (f64::from(w) * column - GAP, f64::from(h) * (ROW + GAP) - GAP);
    let body = body(panel, scene, width - 2.0, height - 34.0);
    format!(
        "<section style='left:{left:.1}px;top:{top:.1}px;width:{width:.1}px;height:{height:.1}px'>\
         <h2>{}</h2>{body}</section>",
        escaped(&panel.title)
    )
}

fn body(panel: &Panel, scene: &Scene<'_>, width: f64, height: f64) -> String {
    let answers = scene.ask(panel);
    let (defaults, now) = (&panel.field_config["defaults"], f64::from(scene.end));
    let (unit, thresholds) = (text(&defaults["unit"]), &defaults["thresholds"]);
    match panel.kind.as_str() {
        "stat" => {
            let series = answers.iter().flatten().next();
            let last =
                series.and_then(|series| series.points.last()).map_or(0.0, |(_, value)| *value);
            let color = value::color(last, thresholds);
            let number = value::formatted(last, unit, defaults["decimals"].as_u64(), now);
            let line = series.map(|series| chart::spark(series, &color, width, height - 64.0));
            format!(
                "<div class='stat'><strong style='color:{color}'>{number}</strong>{}</div>",
                line.unwrap_or_default()
            )
        }
        "table" => {
            let n_lines = std::iter::successors(Some(height - 34.0), |rest| Some(rest - 30.0))
                .take_while(|rest| *rest > 0.0)
                .count();
            table::drawn(panel, &answers, now, n_lines)
        }
        "bargauge" => table::bars(answers.first().map_or(&[], Vec::as_slice), thresholds),
        _ => lines(panel, &answers, scene).drawn(width, height),
    }
}

fn lines<'a>(
    panel: &'a Panel,
    answers: &'a [Vec<QueriedSeries>],
    scene: &Scene<'_>,
) -> chart::Chart<'a> {
    let fixed = |name: &str| {
        let overrides = panel.field_config["overrides"].as_array().into_iter().flatten();
        let mut ours = overrides.filter(|one| one["matcher"]["options"] == name);
        ours.next().map(|one| text(&one["properties"][0]["value"]["fixedColor"]).to_owned())
    };
    let named = panel.targets.iter().zip(answers).flat_map(|(target, answer)| {
        answer.iter().map(|series| (legend(&target.legend_format, series), series))
    });
    let mut lines: Vec<_> = named.collect();
    lines.sort_by(|(one, _), (other, _)| one.cmp(other));
    let lines = lines.into_iter().enumerate().map(|(number, (name, series))| {
        let color = fixed(&name).unwrap_or_else(|| palette(number).to_owned());
        (name, color, series)
    });
    let defaults = &panel.field_config["defaults"];
    chart::Chart {
        lines: lines.collect(),
        unit: text(&defaults["unit"]),
        stacked: defaults["custom"]["stacking"]["mode"] == "normal",
        range: (f64::from(scene.end - scene.seconds), f64::from(scene.end)),
    }
}

/// `{{label}}` filled in.
fn legend(format: &str, series: &QueriedSeries) -> String {
    let filled = series.labels.iter().fold(format.to_owned(), |sum, (label, value)| {
        sum.replace(&format!("{{{{{label}}}}}"), value)
    });
    let without = filled.split("{{").enumerate().map(|(number, part)| match number {
        0 => part,
        _ => part.split_once("}}").map_or("", |(_, rest)| rest),
    });
    without.collect::<String>().trim().to_owned()
}

const fn palette(number: usize) -> &'static str {
    PALETTE[number % PALETTE.len()]
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
