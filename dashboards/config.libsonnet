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

    // More overdue connections than this are worth a message.
    overdueAtMost: 0,
    // More connections than this are, that this side opened and that get no answer to data or to probes...
    unansweredAtMost: 0,
    // ...and that peers opened: clients of a public server vanish every day.
    unansweredInboundAtMost: 10,
    // More connections than this are, that the peer has closed and the program has not, or if they became more by...
    peerClosedAtMost: 20,
    peerClosedGrewBy: 3,
    // More connections than this are, that wait in an accept queue.
    unacceptedAtMost: 3,
    // Idle drops are, if at least this number of separate moments must explain them, over...
    idleDropOccasions: 2,
    idleDropsOver: '1d',
    // More keepalive timeouts in `window` than this are.
    timeoutsAtMost: 3,
    // A protected share that fell by this much is, in workloads with this many connections.
    protectedShareFell: 0.2,
    protectedShareConnections: 10,
    // Snapshots older than this, in seconds, are.
    snapshotAge: 300,
    // `doctor --verify` that has not run for this many seconds is: its timer comes by every hour.
    verifyAge: 3 * 3600,
  },
}
