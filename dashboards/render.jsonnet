// Every file of `generated/`, by name: `jsonnet -S -m generated render.jsonnet`.
// `config` changes values of `_config`.
function(config={})
  local mixin = (import 'mixin.libsonnet') + { _config+:: config };
  local yaml(groups) =
    '# Generated from the mixin by `cargo xtask codegen`: edit that.\n'
    + std.manifestYamlDoc(groups, quote_keys=false) + '\n';
  {
    [name]: std.manifestJsonEx(mixin.grafanaDashboards[name], '  ') + '\n'
    for name in std.objectFields(mixin.grafanaDashboards)
  } + {
    'rules.yml': yaml(mixin.prometheusRules),
    'alerts.yml': yaml(mixin.prometheusAlerts),
  }
