//! The Helm chart, made out of what kustomize reads: each file of `deploy/kubernetes` is taken as it is, and each place where an
//! installation may differ is named once, below. Where such a place is gone, the chart is not made.

use crate::place;
use anyhow::{Context as _, Result, bail};
use std::fs;

const BASE: &str = "deploy/kubernetes/base";
const OPERATOR: &str = "deploy/kubernetes/components/prometheus-operator";
/// Where the chart is.
pub(crate) const FOLDER: &str = "deploy/helm/keepwatch";
const NOTE: &str = "# Generated from deploy/kubernetes by `cargo xtask codegen`: edit that, or xtask/src/chart.rs.\n";

/// A file of the chart, out of one that kustomize reads.
struct ChartFile {
    place: &'static str,
    source: (&'static str, &'static str),
    /// The value without which it is left out.
    only_if: Option<&'static str>,
    /// What stands there, once, and what stands there in the chart.
    edits: &'static [(&'static str, &'static str)],
}

/// As kustomize adds them to everything.
const METADATA: (&str, &str) = (
    "metadata:\n  name: keepwatch\n",
    "metadata:\n  name: keepwatch\n  namespace: {{ .Release.Namespace }}\n  labels:\n    app.kubernetes.io/name: keepwatch\n",
);

const FILES: [ChartFile; 6] = [
    ChartFile {
        place: "templates/service-account.yaml",
        source: (BASE, "service-account.yaml"),
        only_if: None,
        edits: &[METADATA],
    },
    ChartFile {
        place: "templates/network-policy.yaml",
        source: (BASE, "network-policy.yaml"),
        only_if: Some("networkPolicy.enabled"),
        edits: &[
            METADATA,
            (
                "  podSelector: {}\n",
                "  podSelector:\n    matchLabels:\n      app.kubernetes.io/name: keepwatch\n",
            ),
            ("metadata.name: monitoring\n", "metadata.name: {{ .Values.networkPolicy.from }}\n"),
        ],
    },
    ChartFile {
        place: "templates/daemon-set.yaml",
        source: (BASE, "daemon-set.yaml"),
        only_if: None,
        edits: &[
            METADATA,
            (
                "  template:\n    metadata:\n      annotations:\n",
                "  selector:\n    matchLabels:\n      app.kubernetes.io/name: keepwatch\n  template:\n    metadata:\n      labels:\n        \
                 app.kubernetes.io/name: keepwatch\n      annotations:\n        # A change of the config replaces the pods one \
                 after the other.\n        checksum/config: {{ .Values.config | default (.Files.Get \"files/config.toml\") | \
                 sha256sum }}\n",
            ),
            (
                "        kubernetes.io/os: linux\n",
                "        kubernetes.io/os: linux\n        {{- with .Values.nodeSelector }}\n        {{- toYaml . | nindent 8 }}\n        \
                 {{- end }}\n      {{- with .Values.affinity }}\n      affinity:\n        {{- toYaml . | nindent 8 }}\n      {{- end \
                 }}\n      {{- with .Values.imagePullSecrets }}\n      imagePullSecrets:\n        {{- toYaml . | nindent 8 }}\n      {{- \
                 end }}\n      {{- with .Values.priorityClassName }}\n      priorityClassName: {{ . }}\n      {{- end }}\n",
            ),
            (
                "        - operator: Exists\n",
                "        {{- toYaml .Values.tolerations | nindent 8 }}\n",
            ),
            (
                concat!("          image: keepwatch:", env!("CARGO_PKG_VERSION"), "\n"),
                "          image: \"{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}\"\n",
            ),
            (
                "          imagePullPolicy: IfNotPresent\n",
                "          imagePullPolicy: {{ .Values.image.pullPolicy }}\n",
            ),
        ],
    },
    ChartFile {
        place: "templates/pod-monitor.yaml",
        source: (OPERATOR, "pod-monitor.yaml"),
        only_if: Some("prometheusOperator.podMonitor"),
        edits: &[("  namespace: keepwatch\n", "  namespace: {{ .Release.Namespace }}\n")],
    },
    ChartFile {
        place: "files/config.toml",
        source: (BASE, "config.toml"),
        only_if: None,
        edits: &[],
    },
    // Its alerts have templates of Prometheus, which Helm would take for its own: so it is no template.
    ChartFile {
        place: "files/rules.yaml",
        source: (OPERATOR, "rules.yaml"),
        only_if: None,
        edits: &[],
    },
];

/// Everything of the chart that is generated: each with its place below [`FOLDER`].
pub(crate) fn files() -> Result<Vec<(&'static str, String)>> {
    let mut made = Vec::new();
    for file in &FILES {
        let source = read(file.source.0, file.source.1)?;
        let is_daemon_set = file.place.ends_with("daemon-set.yaml");
        let (mut text, resources) =
            if is_daemon_set { without_resources(&source)? } else { (source, String::new()) };
        for (old, new) in file.edits {
            if text.matches(old).count() != 1 {
                let (folder, name) = file.source;
                bail!(
                    "{folder}/{name} has not once: {old:?}; help: mend the edit in xtask/src/chart.rs"
                );
            }
            text = text.replacen(old, new, 1);
        }
        if let Some(value) = file.only_if {
            text = format!("{{{{- if .Values.{value} }}}}\n{text}{{{{- end }}}}\n");
        }
        if file.place.starts_with("templates/") {
            text.insert_str(0, NOTE);
        }
        made.push((file.place, text));
        if is_daemon_set {
            made.push(("values.yaml", values(&resources)));
        }
    }
    made.push(("Chart.yaml", description()));
    Ok(made)
}

fn read(folder: &str, name: &str) -> Result<String> {
    let path = place::root().join(folder).join(name);
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The DaemonSet whose resources are a value, and these, moved to the left.
fn without_resources(daemon_set: &str) -> Result<(String, String)> {
    const HEAD: &str = "          resources:\n";
    let split = || {
        let (before, rest) = daemon_set.split_once(HEAD)?;
        let n = rest.split_inclusive('\n').take_while(|line| line.starts_with("            "));
        let (resources, after) = rest.split_at_checked(n.map(str::len).sum())?;
        Some((before, resources, after))
    };
    let (before, resources, after) = split().context("the DaemonSet has no resources")?;
    let value = "            {{- toYaml .Values.resources | nindent 12 }}\n";
    let moved = resources.lines().map(|line| format!("  {}\n", line.get(12..).unwrap_or_default()));
    Ok((format!("{before}{HEAD}{value}{after}"), moved.collect()))
}

fn description() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "{NOTE}apiVersion: v2\nname: keepwatch\ndescription: For every TCP connection of a node, whether keepalive protects it, and \
         why it died\ntype: application\nversion: {version}\nappVersion: \"{version}\"\nkubeVersion: \">=1.28.0-0\"\n"
    )
}

fn values(resources: &str) -> String {
    format!(
        "{NOTE}image:
  repository: keepwatch
  # The chart's appVersion, if it is empty.
  tag: \"\"
  pullPolicy: IfNotPresent
imagePullSecrets: []

# The text of config.toml: docs/CONFIG.md says what may stand there. files/config.toml, if it is empty. For a cloud's idle limit:
# --set-file config=deploy/kubernetes/overlays/eks/config.toml
config: \"\"

# Pods of this namespace alone may read the metrics, which name workloads and processes.
networkPolicy:
  enabled: true
  from: monitoring

# For clusters with the Prometheus operator (its CRDs PodMonitor and PrometheusRule).
prometheusOperator:
  podMonitor: false
  rules: false

# Every node with Linux; what is named here is wanted of a node as well.
nodeSelector: {{}}
affinity: {{}}
tolerations:
  - operator: Exists
priorityClassName: \"\"

resources:
{resources}"
    )
}

#[cfg(test)]
mod tests {
    use super::{FOLDER, files};
    use crate::place;
    use std::{collections::BTreeSet, env, fs, path::Path};

    /// Written by hand.
    const OWN: [&str; 4] = [
        "templates/NOTES.txt",
        "templates/config-map.yaml",
        "templates/rules.yaml",
        "values.schema.json",
    ];

    #[test]
    fn generated_chart_is_fresh() {
        let folder = place::root().join(FOLDER);
        let made = files().expect("the chart");
        for (place, text) in &made {
            let path = folder.join(place);
            if env::var_os("KEEPWATCH_BLESS").is_some() {
                fs::write(&path, text).expect("write");
            }
            let there = fs::read_to_string(&path).unwrap_or_default();
            assert!(there == *text, "{FOLDER}/{place} is stale: run `cargo xtask codegen`");
        }
        let made = made.iter().map(|(place, _)| *place);
        let expected: BTreeSet<String> = made.chain(OWN).map(str::to_owned).collect();
        assert_eq!(below(&folder, &folder), expected, "neither generated nor written by hand");
    }

    fn below(folder: &Path, root: &Path) -> BTreeSet<String> {
        let paths = place::files_below(folder).expect("the chart");
        let relative = paths.iter().filter_map(|path| path.strip_prefix(root).ok());
        relative.map(|path| path.display().to_string()).collect()
    }
}
