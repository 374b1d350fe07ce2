//! The mixin in `dashboards/`, as `jsonnet` renders it.
#![expect(
    clippy::indexing_slicing,
    reason = "part of the tests: JSON answers null to what it has not"
)]

use crate::tool;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// Dashboards, rules and alerts.
#[derive(Debug)]
pub struct Mixin {
    /// The files of `dashboards/generated`, by name.
    pub files: BTreeMap<String, String>,
    /// Rules and alerts as the Prometheus operator takes them: [`OPERATOR_RULES`].
    pub operator_rules: String,
    /// Dashboards by the name of their file.
    pub dashboards: BTreeMap<String, Board>,
    /// Its recording rules, in order.
    pub rules: Vec<RecordingRule>,
    /// Its alerting rules, in order.
    pub alerts: Vec<Alert>,
}

/// What these files mean to Grafana: <https://grafana.com/docs/grafana/latest/dashboards>.
#[expect(missing_docs, reason = "named as in Grafana's JSON")]
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Board {
    pub id: Value,
    pub uid: String,
    pub title: String,
    pub description: String,
    pub tags: Vec<String>,
    pub schema_version: u32,
    pub editable: bool,
    pub annotations: Annotations,
    pub templating: Templating,
    pub panels: Vec<Panel>,
}

#[expect(missing_docs, reason = "named as in Grafana's JSON")]
#[derive(Debug, Deserialize)]
pub struct Annotations {
    pub list: Vec<Value>,
}

#[expect(missing_docs, reason = "named as in Grafana's JSON")]
#[derive(Debug, Deserialize)]
pub struct Templating {
    pub list: Vec<Value>,
}

#[expect(missing_docs, reason = "named as in Grafana's JSON")]
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Panel {
    pub id: u32,
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub description: String,
    pub datasource: Value,
    pub grid_pos: GridPosition,
    pub targets: Vec<PanelTarget>,
    #[serde(default)]
    pub transformations: Vec<Value>,
    pub field_config: Value,
    pub options: Value,
}

#[expect(missing_docs, reason = "named as in Grafana's JSON")]
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct GridPosition {
    pub x: u32,
    pub y: u32,
    pub w: u32,
    pub h: u32,
}

#[expect(missing_docs, reason = "named as in Grafana's JSON")]
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PanelTarget {
    pub expr: String,
    pub ref_id: String,
    pub datasource: Value,
    #[serde(default)]
    pub legend_format: String,
    #[serde(default)]
    pub instant: bool,
}

/// A recording rule: a name for an expression.
#[expect(missing_docs, reason = "named as in Prometheus's files")]
#[derive(Debug, Deserialize)]
pub struct RecordingRule {
    pub record: String,
    pub expr: String,
}

/// An alerting rule with its labels and texts.
#[expect(missing_docs, reason = "named as in Prometheus's files")]
#[derive(Debug, Deserialize)]
pub struct Alert {
    pub alert: String,
    pub expr: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

/// Where the operator's rules are, from `dashboards/generated`.
pub const OPERATOR_RULES: &str =
    "../../deploy/kubernetes/components/prometheus-operator/rules.yaml";

/// The folder of the mixin.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards")
}

impl Mixin {
    /// The shipped one. Rendering takes seconds: once for all tests.
    #[track_caller]
    pub fn shipped() -> &'static Self {
        static SHIPPED: LazyLock<Mixin> = LazyLock::new(|| Mixin::with(&json!({})));
        &SHIPPED
    }

    /// With changes to its `_config`.
    #[track_caller]
    pub fn with(config: &Value) -> Self {
        let rendered = render(config);
        let rules = |kind: &str| -> Vec<Value> {
            let groups = rendered[kind]["groups"].as_array().expect("groups");
            groups
                .iter()
                .flat_map(|group| group["rules"].as_array().expect("rules"))
                .cloned()
                .collect()
        };
        let boards = rendered["boards"].as_object().expect("dashboards");
        let text = |name: &str| rendered["text"][name].as_str().expect("YAML").to_owned();
        let json = |board| serde_json::to_string_pretty(board).expect("JSON") + "\n";
        let files = boards.iter().map(|(name, board)| (name.clone(), json(board)));
        let files =
            files.chain(["rules.yml", "alerts.yml"].map(|name| (name.to_owned(), text(name))));
        Self {
            files: files.collect(),
            operator_rules: text("operator"),
            dashboards: parsed(rendered["boards"].clone()),
            rules: parsed(rules("rules").into()),
            alerts: parsed(rules("alerts").into()),
        }
    }
}

#[track_caller]
fn parsed<T: for<'a> Deserialize<'a>>(value: Value) -> T {
    serde_json::from_value(value).expect("what Grafana and Prometheus expect")
}

#[track_caller]
fn render(config: &Value) -> Value {
    // Only rules are written by jsonnet's own library, which is slow.
    let snippet = format!(
        "local mixin = (import 'mixin.libsonnet') + {{ _config+:: {config} }};
         local yaml(groups) = '# Generated from the mixin by `cargo xtask codegen`: edit that.\\n'
                              + std.manifestYamlDoc(groups, quote_keys=false) + '\\n';
         local operator = {{
           apiVersion: 'monitoring.coreos.com/v1',
           kind: 'PrometheusRule',
           metadata: {{
             name: 'keepwatch',
             namespace: 'keepwatch',
             labels: {{ 'app.kubernetes.io/name': 'keepwatch' }},
           }},
           spec: {{ groups: mixin.prometheusRules.groups + mixin.prometheusAlerts.groups }},
         }};
         {{
           boards: mixin.grafanaDashboards,
           rules: mixin.prometheusRules,
           alerts: mixin.prometheusAlerts,
           text: {{ 'rules.yml': yaml($.rules), 'alerts.yml': yaml($.alerts), operator: yaml(operator) }},
         }}"
    );
    let output = Command::new(tool::program("jsonnet"))
        .args(["--exec", &snippet])
        .current_dir(folder())
        .output()
        .expect("the command `jsonnet`: run `cargo xtask setup`");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "jsonnet: {said}");
    serde_json::from_slice(&output.stdout).expect("what jsonnet writes")
}

/// An expression with Grafana's variables replaced: by all of everything, and by these times.
pub fn with_variables(expr: &str, range: &str, rate_interval: &str) -> String {
    let times = expr.replace("$__range", range).replace("$__rate_interval", rate_interval);
    ["cluster", "job", "instance", "namespace", "workload", "path"]
        .iter()
        .fold(times, |expr, name| expr.replace(&format!("${name}"), ".*"))
}
