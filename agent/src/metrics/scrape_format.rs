//! The two text formats of a scrape: OpenMetrics 1.0, and Prometheus text 0.0.4 for clients that ask for it.

/// The exposition format of a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ScrapeFormat {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Text,
}

impl ScrapeFormat {
    /// What the reply says that it is.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The format that the header `Accept` prefers: OpenMetrics where it is named and no worse than
    /// text, text in all other cases, because anything can show it.
    pub(crate) fn negotiate(accept: Option<&str>) -> Self {
        let mut openmetrics = 0;
        let mut text = 0;
        for range in accept.unwrap_or_default().split(',').map(MediaRange::parse) {
            match range.kind.as_str() {
                "application/openmetrics-text" if range.is_openmetrics_1() => {
                    openmetrics = openmetrics.max(range.per_mille);
                }
                "text/plain" | "text/*" | "*/*" => text = text.max(range.per_mille),
                _ => {}
            }
        }
        if openmetrics > 0 && openmetrics >= text { Self::OpenMetrics } else { Self::Text }
    }
}

/// Whether the header `Accept-Encoding` names gzip as something that the client can read.
pub(crate) fn takes_gzip(accept_encoding: &str) -> bool {
    let codings: Vec<_> = accept_encoding.split(',').map(MediaRange::parse).collect();
    let named = |name: &str| codings.iter().find(|coding| coding.kind == name);
    named("gzip").or_else(|| named("*")).is_some_and(|coding| coding.per_mille > 0)
}

/// One element of `Accept`.
struct MediaRange {
    kind: String,
    version: Option<String>,
    /// The q-value, which has at most three digits.
    per_mille: u32,
}

impl MediaRange {
    fn parse(element: &str) -> Self {
        let mut parts = element.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut range = Self { kind, version: None, per_mille: 1000 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => range.per_mille = per_mille(value),
                "version" => range.version = Some(value.to_owned()),
                _ => {}
            }
        }
        range
    }

    /// 0.0.1 was a draft of 1.0.0; its parsers accept our output.
    fn is_openmetrics_1(&self) -> bool {
        matches!(self.version.as_deref(), None | Some("0.0.1" | "1.0.0"))
    }
}

/// A q-value in thousandths; an invalid one means "not acceptable".
fn per_mille(value: &str) -> u32 {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    let digits = decimals.bytes().chain([b'0'; 3]).take(3);
    let decimals =
        digits.fold(0, |sum, digit| sum * 10 + u32::from(digit.saturating_sub(b'0').min(9)));
    match whole {
        "1" => 1000,
        "0" => decimals,
        _ => 0,
    }
}

/// Prometheus text 0.0.4 of what `prometheus-client` writes as OpenMetrics 1.0. There, HELP and TYPE
/// name a family without the suffix that its samples have, and there are kinds and lines which the
/// older format does not know.
pub(super) fn text_of(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = None;
    for line in openmetrics.split_inclusive('\n') {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.trim_end().split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((name, help)) = help.take() {
                text.extend(["# HELP ", name, suffix, " ", help]);
            }
            text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            match exemplar(line) {
                Some(sample) => text.extend([sample, "\n"]),
                None => text.push_str(line),
            }
        }
    }
    text
}

/// A sample without the exemplar behind it, if it has one. In a label's value the quotes would be escaped.
fn exemplar(line: &str) -> Option<&str> {
    line.rsplit_once(" # {id=\"").map(|(sample, _)| sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_2_and_3_get_openmetrics() {
        for accept in [
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
             q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;\
             escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            "application/openmetrics-text",
            "Application/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=0.5 , text/plain ; q=0.5",
        ] {
            assert_eq!(
                ScrapeFormat::negotiate(Some(accept)),
                ScrapeFormat::OpenMetrics,
                "{accept}"
            );
        }
    }

    #[test]
    fn everybody_else_gets_text() {
        for accept in [
            "",
            "*/*",
            "text/plain;version=0.0.4",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/plain;version=0.0.4;q=1,application/openmetrics-text;q=0.999",
            "application/openmetrics-text;version=2.0.0,text/plain;q=0.1",
            "application/openmetrics-text;q=0,*/*;q=0",
            "application/openmetrics-text;q=nonsense",
            "application/json",
            ";;;,,=;q",
        ] {
            assert_eq!(ScrapeFormat::negotiate(Some(accept)), ScrapeFormat::Text, "{accept}");
        }
        assert_eq!(ScrapeFormat::negotiate(None), ScrapeFormat::Text);
    }

    #[test]
    fn gzip_is_for_clients_that_can_read_it() {
        for (header, takes) in [
            ("gzip", true),
            ("deflate, gzip;q=0.5", true),
            ("GZIP;q=1.0, identity", true),
            ("*", true),
            ("", false),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip;q=0, *", false),
            ("*;q=0", false),
            ("x-gzipped", false),
        ] {
            assert_eq!(takes_gzip(header), takes, "{header}");
        }
    }

    #[test]
    fn a_q_value_has_up_to_three_decimals() {
        for (value, expected) in
            [("1", 1000), ("1.000", 1000), ("0.5", 500), ("0.075", 75), ("0", 0), ("", 0), ("7", 0)]
        {
            assert_eq!(per_mille(value), expected, "{value:?}");
        }
    }

    #[test]
    fn text_names_counters_and_infos_as_their_samples_are_named() {
        let openmetrics = "# HELP a_seconds Help # TYPE x.\n# TYPE a_seconds counter\n\
                           # UNIT a_seconds seconds\na_seconds_total{b=\" # {id=\\\"\"} 1 # {id=\"sk:1f\"} 1\n\
                           # HELP c Help.\n# TYPE c info\nc_info{d=\"e\"} 1\n\
                           # HELP f Help.\n# TYPE f gauge\nf 1\n# EOF\n";
        let text = "# HELP a_seconds_total Help # TYPE x.\n# TYPE a_seconds_total counter\n\
                    a_seconds_total{b=\" # {id=\\\"\"} 1\n\
                    # HELP c_info Help.\n# TYPE c_info gauge\nc_info{d=\"e\"} 1\n\
                    # HELP f Help.\n# TYPE f gauge\nf 1\n";
        assert_eq!(text_of(openmetrics), text);
    }
}
