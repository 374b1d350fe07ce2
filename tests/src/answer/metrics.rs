//! What a scrape says, by name and labels.

use crate::answer::{agent::Agent, http};

/// The values of one scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics(Vec<(String, f64)>);

impl Metrics {
    /// Scrapes the metrics of an agent.
    #[track_caller]
    pub fn of(agent: &Agent) -> Self {
        let answer = http::get(agent.address(), "/metrics", "text/plain").expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.body);
        let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
        let value = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        Self(lines.filter_map(value).collect())
    }

    /// The sum of a family's series that have this text among their labels (`stage="seen"`, or
    /// nothing for all of them); fails the test if there is none.
    #[track_caller]
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let of_name = |series: &str| {
            let rest = series.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with('{')).then(|| rest.contains(label))
        };
        let values = self.0.iter().filter(|(series, _)| of_name(series) == Some(true));
        let values: Vec<f64> = values.map(|(_, value)| *value).collect();
        assert!(!values.is_empty(), "no series {name}{{{label}}}");
        values.iter().sum()
    }
}
