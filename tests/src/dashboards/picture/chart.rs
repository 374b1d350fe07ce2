//! Lines and areas over time, and the small line in a stat.

use super::{escaped, value::formatted};
use crate::dashboards::prometheus::QueriedSeries;
use std::fmt::Write as _;

/// What a chart shows.
pub(super) struct Chart<'a> {
    /// Names, colours and points.
    pub(super) lines: Vec<(String, String, &'a QueriedSeries)>,
    pub(super) unit: &'a str,
    pub(super) stacked: bool,
    /// From when until when, Unix time.
    pub(super) range: (f64, f64),
}

/// Room for the labels at the left, if they need no more.
const LEFT: f64 = 58.0;
/// About what a letter takes in an axis, and in a legend with what stands before a name.
const LETTER: f64 = 6.6;
const MARK: f64 = 36.0;
/// The height of a legend's line, of which there are at most two.
const LEGEND: f64 = 24.0;
const BOTTOM: f64 = 24.0;
const TOP: f64 = 8.0;
const RIGHT: f64 = 22.0;

impl Chart<'_> {
    /// The chart as SVG, and its legend.
    pub(super) fn drawn(&self, width: f64, height: f64) -> String {
        let legend_height = self.legend_height(width);
        let plot_height = height - 2.0 - legend_height;
        let layers = self.layers();
        let most = layers.iter().flatten().map(|(_, _, top)| *top).fold(0.0, f64::max);
        let step = if most > 0.0 { most / 4.0 } else { 0.25 };
        let step = if self.unit == "bytes" { nice_bytes(step) } else { nice(step) };
        let top = step * (most / step).ceil().max(1.0);
        let ticks: Vec<(f64, String)> = std::iter::successors(Some(0.0), |tick| Some(tick + step))
            .take_while(|tick| *tick <= top * 1.001)
            .map(|tick| (tick, formatted(tick, self.unit, None, 0.0)))
            .collect();
        let left = ticks.iter().map(|(_, label)| text_width(label) + 16.0).fold(LEFT, f64::max);
        let x = |at: f64| {
            left + (at - self.range.0) / (self.range.1 - self.range.0) * (width - left - RIGHT)
        };
        let y = |value: f64| TOP + (1.0 - value / top) * (plot_height - TOP - BOTTOM);
        let mut svg = format!("<svg width='{width}' height='{plot_height}'>");
        for (tick, label) in &ticks {
            let (y, end) = (y(*tick), width - RIGHT);
            svg += &format!(
                "<path d='M{left:.1} {y:.1}H{end}' class='grid'/><text x='{:.1}' y='{:.1}' class='axis' text-anchor='end'>{label}</text>",
                left - 8.0,
                y + 4.0
            );
        }
        let mut hour = (self.range.0 / 3600.0).ceil() * 3600.0;
        while hour <= self.range.1 {
            let (x, clock) = (x(hour), (hour / 3600.0).rem_euclid(24.0));
            svg += &format!(
                "<path d='M{x:.1} {TOP}V{:.1}' class='grid'/><text x='{x:.1}' y='{:.1}' class='axis' text-anchor='middle'>{clock:02.0}:00</text>",
                plot_height - BOTTOM,
                plot_height - 6.0
            );
            hour += 3600.0;
        }
        for ((_, color, _), layer) in self.lines.iter().zip(&layers) {
            let (mut upper, mut lower) = (String::new(), String::new());
            for (at, bottom, top) in layer {
                let first = if upper.is_empty() { 'M' } else { 'L' };
                write!(upper, "{first}{:.1} {:.1}", x(*at), y(*top)).unwrap_or_default();
                lower = format!("L{:.1} {:.1}{lower}", x(*at), y(*bottom));
            }
            let opacity = if self.stacked { 0.45 } else { 0.08 };
            svg += &format!(
                "<path d='{upper}{lower}Z' fill='{color}' fill-opacity='{opacity}'/><path d='{upper}' fill='none' stroke='{color}' stroke-width='1.4'/>"
            );
        }
        svg += &format!("</svg><div class='legend' style='height:{legend_height}px'>");
        for (name, color, _) in &self.lines {
            svg += &format!("<span><i style='background:{color}'></i>{}</span>", escaped(name));
        }
        svg + "</div>"
    }

    /// Names that do not fit stand in a second line; what is more is left out.
    fn legend_height(&self, width: f64) -> f64 {
        let names: f64 = self.lines.iter().map(|(name, ..)| text_width(name) + MARK).sum();
        if names > width - 24.0 { 2.0 * LEGEND } else { LEGEND }
    }

    /// Of each line: when, where it begins and where it ends.
    fn layers(&self) -> Vec<Vec<(f64, f64, f64)>> {
        let mut sums = std::collections::BTreeMap::<u64, f64>::new();
        let mut layers = Vec::new();
        for (_, _, series) in &self.lines {
            let layer = series.points.iter().map(|&(at, value)| {
                let sum = sums.entry(at.to_bits()).or_default();
                let bottom = if self.stacked { *sum } else { 0.0 };
                *sum += value;
                (at, bottom, bottom + value)
            });
            layers.push(layer.collect());
        }
        layers
    }
}

fn text_width(text: &str) -> f64 {
    LETTER * f64::from(u32::try_from(text.chars().count()).unwrap_or(u32::MAX))
}

/// The same for bytes: of KiB, MiB and so on.
fn nice_bytes(step: f64) -> f64 {
    let unit = 1024f64.powf(step.max(1.0).log(1024.0).floor());
    nice(step / unit) * unit
}

/// 1, 2 or 5 times a power of ten, not less.
fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|n| n * power)
        .find(|nice| *nice >= step * 0.999)
        .unwrap_or(step)
}

/// The line behind a number.
pub(super) fn spark(series: &QueriedSeries, color: &str, width: f64, height: f64) -> String {
    let values: Vec<_> = series.points.iter().map(|(_, value)| *value).collect();
    let (least, most) =
        values.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
    let span = if most > least { most - least } else { 1.0 };
    let step = width / (f64::from(u32::try_from(values.len()).unwrap_or(1)) - 1.0).max(1.0);
    let mut line = String::new();
    for (number, value) in (0u32..).zip(&values) {
        let y = height - 2.0 - (value - least) / span * (height - 6.0);
        write!(
            line,
            "{}{:.1} {y:.1}",
            if number == 0 { 'M' } else { 'L' },
            f64::from(number) * step
        )
        .unwrap_or_default();
    }
    format!(
        "<svg class='spark' width='{width}' height='{height}'><path d='{line}L{width} {height}L0 {height}Z' fill='{color}' fill-opacity='0.14'/><path d='{line}' fill='none' stroke='{color}' stroke-opacity='0.8' stroke-width='1.3'/></svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::{nice, nice_bytes};
    use crate::dashboards::picture::value::formatted;

    #[test]
    fn ticks_are_round_in_their_unit() {
        for (step, expected) in [(14_400_000.0, "20 MiB"), (150.0, "200 B")] {
            assert_eq!(formatted(nice_bytes(step), "bytes", None, 0.0), expected);
        }
        assert_eq!(formatted(nice(280.0), "short", None, 0.0), "500");
    }
}
