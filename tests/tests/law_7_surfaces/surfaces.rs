//! What each surface says of the connections of this process.

use keepwatch_tests::{
    answer::{
        agent::{Agent, keepwatch},
        http,
    },
    wait::now,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    process::Stdio,
    time::{Duration, Instant},
};

/// A walk is as old as this at most, on a busy machine too.
const STALENESS: Duration = Duration::from_millis(1500);
/// `check` and `why` are asked of each connection, and may find something.
const FOUND: [Option<i32>; 2] = [Some(0), Some(1)];

/// What is said of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) verdict: String,
    /// None where a surface does not say it.
    pub(crate) condition: String,
    pub(crate) limit_seconds: u64,
    path: String,
    quiet_seconds: Option<f64>,
    is_established: bool,
    /// Keepalive is no matter of what is not open yet, or not any more.
    is_open: bool,
    direction: String,
}

impl Statement {
    fn of(row: &Value) -> Self {
        let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
        Self {
            verdict: text("verdict"),
            condition: text("condition"),
            limit_seconds: row["idle_limit_seconds"].as_u64().unwrap_or_default(),
            path: text("path"),
            quiet_seconds: row["quiet_seconds"].as_f64(),
            is_established: row["state"] == "established",
            is_open: row["state"] == "established"
                || row["state"] == "fin_wait2" && row["orphan"] == false,
            direction: text("direction"),
        }
    }

    fn is_as(&self, other: &Self) -> bool {
        (&self.verdict, &self.condition, self.limit_seconds)
            == (&other.verdict, &other.condition, other.limit_seconds)
    }
}

/// The answer of a surface, by id of the connection, and when it was asked.
#[derive(Debug)]
pub(crate) struct SurfaceAnswer {
    name: &'static str,
    pub(crate) of: BTreeMap<String, Statement>,
    asked: Instant,
    answered: Instant,
}

impl SurfaceAnswer {
    fn new(name: &'static str, rows: impl FnOnce() -> Vec<(String, Statement)>) -> Self {
        let asked = now();
        let of = rows().into_iter().collect();
        Self { name, of, asked, answered: now() }
    }
}

/// All answers: `sockets` before and after the others.
#[derive(Debug)]
pub(crate) struct Surfaces {
    pub(crate) first: SurfaceAnswer,
    last: SurfaceAnswer,
    others: Vec<SurfaceAnswer>,
    /// Counts by verdict and condition above the rows of a page.
    counts: Value,
    metrics: String,
}

/// `keepwatch WORDS --json` beside the agent: its lines.
#[track_caller]
pub(crate) fn lines(agent: &Agent, words: &[&str]) -> Vec<Value> {
    let (command, options) = words.split_first().unwrap();
    let mut asked = keepwatch([command, "--source", "agent", "--json", "--socket"]);
    let output = asked.arg(agent.socket()).args(options).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(FOUND.contains(&output.status.code()), "{words:?}: {}: {said}", output.status);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The parameter of a request, encoded.
pub(crate) fn encoded(value: &Value) -> String {
    value.to_string().bytes().fold(String::new(), |sum, byte| {
        if byte.is_ascii_alphanumeric() {
            sum + &char::from(byte).to_string()
        } else {
            sum + &format!("%{byte:02X}")
        }
    })
}

fn by_id(rows: &[Value]) -> Vec<(String, Statement)> {
    rows.iter().map(|row| (row["id"].as_str().unwrap().to_owned(), Statement::of(row))).collect()
}

fn own_pid() -> String {
    std::process::id().to_string()
}

/// What `sockets` says.
pub(crate) fn sockets(agent: &Agent) -> SurfaceAnswer {
    SurfaceAnswer::new("sockets", || by_id(&lines(agent, &["sockets", "--pid", &own_pid()])))
}

impl Surfaces {
    pub(crate) fn ask(agent: &Agent) -> Self {
        let own = json!({ "pid": [std::process::id()] });
        let first = sockets(agent);
        let mut counts = Value::Null;
        let mut others = vec![
            SurfaceAnswer::new("/v1/sockets", || {
                by_id(&agent.ask(&format!("/v1/sockets?filter={}", encoded(&own))))
            }),
            SurfaceAnswer::new("top's page", || {
                let pick = encoded(&json!({ "filter": own, "limit": 1000 }));
                let page = agent.ask(&format!("/v1/page?pick={pick}")).remove(0);
                counts = page["counts"].clone();
                by_id(page["rows"].as_array().unwrap())
            }),
        ];
        for (id, said) in &first.of {
            others.push(SurfaceAnswer::new("why", || {
                let cases = lines(agent, &["why", id]);
                cases.iter().map(|case| (id.clone(), Statement::of(&case["example"]))).collect()
            }));
            others.push(SurfaceAnswer::new("check", || {
                let filter = ["check", "--show-all", "--direction", &said.direction, "--id", id];
                let found = lines(agent, &filter);
                let groups = found.iter().filter(|line| line["result"] != "summary");
                let said = groups.map(|group| Statement {
                    condition: said.condition.clone(),
                    ..Statement::of(group)
                });
                said.map(|said| (id.clone(), said)).collect()
            }));
        }
        let metrics = http::get(agent.address(), "/metrics", "text/plain").unwrap().body;
        Self { last: sockets(agent), first, others, counts, metrics }
    }

    /// Whether nothing changed while they were asked.
    pub(crate) fn is_of_one_moment(&self) -> bool {
        let (first, last) = (&self.first.of, &self.last.of);
        first.keys().eq(last.keys()) && first.iter().all(|(id, said)| said.is_as(&last[id]))
    }

    /// What the first and the last answer of `sockets` agree in, as metrics count it.
    pub(crate) fn metrics_that_differ(&self, process: &str) -> Vec<String> {
        let of_process = |line: &&str| line.contains(&format!("process=\"{process}\""));
        let mut counted: BTreeMap<String, u64> = BTreeMap::new();
        for line in self.metrics.lines().filter(of_process) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let is_one = ["keepwatch_sockets{", "keepwatch_sockets_in_trouble{"];
            if is_one.iter().any(|name| series.starts_with(name)) {
                let (labels, _) = series.split_once(",namespace=").unwrap();
                counted.insert(labels.to_owned(), value.parse::<u64>().unwrap());
            }
        }
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        let mut expect = |series: String| *expected.entry(series).or_default() += 1;
        for Statement { verdict, condition, path, direction, is_established, .. } in
            self.first.of.values()
        {
            // A peer on this host is on no path.
            let path = if verdict == "local" { "" } else { path };
            if *is_established {
                expect(format!(
                    "keepwatch_sockets{{direction=\"{direction}\",verdict=\"{verdict}\",path=\"{path}\""
                ));
            }
            if condition != "fine" {
                expect(format!(
                    "keepwatch_sockets_in_trouble{{condition=\"{condition}\",direction=\"{direction}\",path=\"{path}\""
                ));
            }
        }
        let mut differ = Vec::new();
        for series in expected.keys().chain(counted.keys()) {
            let (said, counted) = (expected.get(series), counted.get(series));
            // This process asks the agent, on this host: there may be one more.
            let is_local = series.contains("verdict=\"local\"") && said < counted;
            if said != counted && !is_local {
                differ.push(format!("{series}: sockets {said:?}, metrics {counted:?}"));
            }
        }
        differ
    }
}

/// How the others differ from `sockets`.
pub(crate) fn said_of(surfaces: &Surfaces) -> impl Iterator<Item = String> {
    let Surfaces { first, last, others, counts, .. } = surfaces;
    let answers = others.iter().flat_map(move |answer| {
        answer.of.iter().filter_map(move |(id, said)| {
            let Some(expected) = first.of.get(id) else {
                return Some(format!("{}: {id} is not among sockets", answer.name));
            };
            let is_quiet_alike =
                is_quiet_alike(id, answer, first) || is_quiet_alike(id, answer, last);
            (!said.is_as(expected) || !is_quiet_alike)
                .then(|| format!("{}: {id}: {said:?}, sockets: {expected:?}", answer.name))
        })
    });
    let missing = ["/v1/sockets", "top's page"].into_iter().filter_map(move |name| {
        let answer = others.iter().find(|answer| answer.name == name)?;
        (answer.of.len() != first.of.len()).then(|| {
            format!("{name}: {} connections, sockets: {}", answer.of.len(), first.of.len())
        })
    });
    let by_id = ["why", "check"].into_iter().filter_map(move |name| {
        let n = others.iter().filter(|answer| answer.name == name && answer.of.len() == 1).count();
        let is_asked = |it: &&Statement| name == "why" || it.is_open;
        let n_asked = first.of.values().filter(is_asked).count();
        (n != n_asked).then(|| format!("{name}: answers for {n} of {n_asked}"))
    });
    let verdicts = ["off", "late", "kept", "protected", "local"].map(|name| (name, true));
    let conditions = ["stuck", "peer_silent", "overdue"].map(|name| (name, false));
    let counted = verdicts.into_iter().chain(conditions).filter_map(move |(name, is_verdict)| {
        let is_one = |said: &&Statement| {
            if is_verdict { said.verdict == name } else { said.condition == name }
        };
        let n = u64::try_from(first.of.values().filter(is_one).count()).unwrap();
        (counts[name] != n).then(|| format!("page: {} {name}, sockets: {n}", counts[name]))
    });
    answers.chain(missing).chain(by_id).chain(counted)
}

/// Whether two answers say the same quiet time, each at its own moment; where packets come and go, that both are short.
fn is_quiet_alike(id: &str, one: &SurfaceAnswer, other: &SurfaceAnswer) -> bool {
    let quiet = |answer: &SurfaceAnswer| answer.of.get(id).and_then(|said| said.quiet_seconds);
    // `check` does not say it.
    let (Some(here), Some(there)) = (quiet(one), quiet(other)) else { return true };
    let short = f64::from(super::population::LIMIT_SECONDS) / 2.0;
    if here < short && there < short {
        return true;
    }
    let passed = if one.asked > other.asked {
        one.asked.duration_since(other.asked).as_secs_f64()
    } else {
        -other.asked.duration_since(one.asked).as_secs_f64()
    };
    let took = |answer: &SurfaceAnswer| answer.answered - answer.asked;
    let tolerated = (STALENESS + took(one) + took(other)).as_secs_f64();
    (here - there - passed).abs() < tolerated
}
