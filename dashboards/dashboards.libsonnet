// Five dashboards, from the fleet down to the agent itself.
{
  grafanaDashboards+:: {
    'fleet.json': (import 'boards/fleet.libsonnet')($._config),
    'workload.json': (import 'boards/workload.libsonnet')($._config),
    'node.json': (import 'boards/node.libsonnet')($._config),
    'path.json': (import 'boards/path.libsonnet')($._config),
    'agent.json': (import 'boards/agent.libsonnet')($._config),
  },
}
