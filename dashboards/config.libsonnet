// What a team may want to change: `(import 'mixin.libsonnet') + { _config+:: { selector: 'job="edge"' } }`.
{
  _config+:: {
    // Picks the agents' series in rules and alerts. Dashboards have variables instead.
    selector: 'job="keepwatch"',
    // The label that tells clusters apart. It may be absent from the series.
    clusterLabel: 'cluster',
    // %s is the alert's name in small letters.
    runbookURL: 'https://github.com/keepwatch/keepwatch/blob/main/docs/RUNBOOK.md#%s',
    dashboardRange: 'now-6h',
    dashboardRefresh: '1m',

    // Rules and alerts look back over this to see what happened just now.
    window: '15m',
    // What is usual for a workload: its average over `usually`, which ended `before`.
    usually: '6h',
    before: '30m',
    // Each alert's own `for` times this.
    patience: 1,

    // More unprotected connections than this, quiet past their limit, are worth a message.
    quietPastLimitAtMost: 0,
    // More connections than this with unanswered probes are.
    halfDeadAtMost: 0,
    // More keepalive timeouts in `window` than this are.
    timeoutsAtMost: 3,
    // A protected share that fell by this much is, in workloads with this many connections.
    protectedShareFell: 0.2,
    protectedShareConnections: 10,
    // Snapshots older than this, in seconds, are.
    snapshotAge: 300,
  },
}
