//! Numbers as Grafana writes them: <https://github.com/grafana/grafana>, packages/grafana-data,
//! valueFormats. And colours by value, as its thresholds say.

use super::text;
use serde_json::Value;

/// A number in a unit. `decimals`: how many to show; as many as help if none.
pub(super) fn formatted(value: f64, unit: &str, decimals: Option<u64>, now: f64) -> String {
    match unit {
        "percentunit" => format!("{}%", rounded(value * 100.0, decimals)),
        "bytes" => scaled(value, decimals, 1024.0, &[" B", " KiB", " MiB", " GiB"]),
        "cpm" => format!("{} c/m", scaled(value, decimals, 1000.0, &["", " K"])),
        "cps" => format!("{} c/s", scaled(value, decimals, 1000.0, &["", " K"])),
        "dateTimeFromNow" => format!("{} ago", longest(now - value / 1000.0)),
        "dtdurations" => longest(value),
        "s" if value < 1.0 && value > 0.0 => format!("{} ms", rounded(value * 1000.0, decimals)),
        "s" if value >= 3600.0 => format!("{} hours", rounded(value / 3600.0, decimals)),
        "s" if value >= 60.0 => format!("{} mins", rounded(value / 60.0, decimals)),
        "s" => format!("{} s", rounded(value, decimals)),
        _ => scaled(value, decimals, 1000.0, &["", " K", " Mil"]),
    }
}

fn scaled(value: f64, decimals: Option<u64>, factor: f64, words: &[&str]) -> String {
    let mut scaled = value;
    let mut words = words.iter();
    let mut word = words.next().unwrap_or(&"");
    while scaled.abs() >= factor {
        let Some(next) = words.next() else { break };
        (scaled, word) = (scaled / factor, next);
    }
    format!("{}{word}", rounded(scaled, decimals))
}

fn rounded(value: f64, decimals: Option<u64>) -> String {
    let digits = match decimals {
        Some(decimals) => usize::try_from(decimals).unwrap_or_default(),
        None if value.abs() >= 100.0 => 0,
        None if value.abs() >= 10.0 => 1,
        None if value.abs() >= 0.1 || value == 0.0 => 2,
        None => 3,
    };
    let text = format!("{value:.digits$}");
    match (decimals, text.contains('.')) {
        (None, true) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        _ => text,
    }
}

/// The two largest units of a time.
fn longest(seconds: f64) -> String {
    const UNITS: [(f64, &str); 4] =
        [(86_400.0, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second")];
    let mut rest = seconds.round();
    let mut words = Vec::new();
    for (length, unit) in UNITS {
        let n = (rest / length).floor();
        if n > 0.0 && words.len() < 2 {
            rest -= n * length;
            words.push(format!("{n} {unit}{}", if n > 1.0 { "s" } else { "" }));
        }
    }
    if words.is_empty() { "0 seconds".to_owned() } else { words.join(", ") }
}

/// The colour of a value.
pub(super) fn color(value: f64, thresholds: &Value) -> String {
    let steps = thresholds["steps"].as_array().into_iter().flatten();
    let mut passed = steps.filter(|step| step["value"].as_f64().is_none_or(|from| value >= from));
    passed.next_back().map_or_else(|| "#d8d9da".to_owned(), |step| text(&step["color"]).to_owned())
}

#[cfg(test)]
mod tests {
    use super::{color, formatted};
    use serde_json::json;

    #[test]
    fn numbers_are_written_as_grafana_writes_them() {
        for (value, unit, decimals, expected) in [
            (1234.0, "short", None, "1.23 K"),
            (7.0, "short", None, "7"),
            (0.8642, "percentunit", Some(1), "86.4%"),
            (18_350_080.0, "bytes", None, "17.5 MiB"),
            (0.0053, "s", None, "5.3 ms"),
            (350.0, "dtdurations", None, "5 minutes, 50 seconds"),
            (0.0, "cps", None, "0 c/s"),
        ] {
            assert_eq!(formatted(value, unit, decimals, 0.0), expected);
        }
    }

    #[test]
    fn the_last_threshold_that_is_passed_gives_the_colour() {
        let thresholds =
            json!({"steps": [{"color": "good", "value": null}, {"color": "bad", "value": 1}]});
        assert_eq!(
            (color(0.0, &thresholds), color(1.0, &thresholds)),
            ("good".into(), "bad".into())
        );
    }
}
