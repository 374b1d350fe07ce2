// One node: who holds what, with which settings, and does the keepalive timer do its work?
local board = import '../lib/board.libsonnet';
local color = import '../lib/color.libsonnet';
local panel = import '../lib/panel.libsonnet';
local query = import '../lib/query.libsonnet';
local stock = import '../lib/stock.libsonnet';

function(config)
  local q = query.of(config);
  local panels = stock.of(q);
  local owner = ['namespace', 'workload', 'container', 'process'];
  // The value of a setting as a label of each network namespace.
  local sysctl(label, metric, matchers='') =
    'count_values by (instance, netns) ("%s", %s)' % [label, q.m(metric, matchers)];
  local joined(label, values) = ' * on (instance, netns) group_left (%s) %s' % [label, values];

  board.board(
    config,
    'node',
    'Node',
    'Who on this node holds unprotected connections, with which settings, and does keepalive do its work?',
    [],
    [
      [4, [
        [5, panels.stuck],
        [5, panels.peerSilent],
        [5, panels.overdue],
        [5, panels.idleDrops],
        [4, panels.safeShare],
      ]],
      [8, [
        [12, panels.conditions],
        [12, panels.inTrouble(owner, { workload: board.to('workload', 'Open this workload', ['namespace', 'workload']) })],
      ]],
      [8, [
        [24, panel.table(
          'Who holds unprotected connections?',
          'Owners of established outbound connections, the most unprotected first. A click on a workload opens '
          + 'its dashboard.',
          owner,
          panels.columns(owner),
          { workload: board.to('workload', 'Open this workload', ['namespace', 'workload']) },
        )],
      ]],
      [10, [
        [8, panel.buckets(
          'How long until the first probe?',
          'Established outbound connections with keepalive on, by their effective idle setting: the bar of '
          + 'a time counts those up to it.',
          panel.idleBounds,
          q.sum(q.m('keepwatch_idle_setting_seconds_bucket', query.outbound), ['le']),
        )],
        [8, panel.buckets(
          'How long until a dead peer is noticed?',
          'Established outbound connections with keepalive on, by the silence after which the kernel gives '
          + 'them up.',
          panel.detectionBounds,
          q.sum(q.m('keepwatch_detection_seconds_bucket', query.outbound), ['le']),
        )],
        [8, panels.deaths],
      ]],
      [8, [
        [12, panel.series(
          'Are probes answered?',
          'Keepalive probes a second: sent by this node, and answered by peers.',
          [
            [q.rate('keepwatch_probes_sent_total'), 'sent'],
            [q.rate('keepwatch_probes_answered_total'), 'answered'],
          ],
          panel.perSecond,
          { sent: color.plain, answered: color.good },
        )],
        [12, panels.byVerdict],
      ]],
      [6, [
        [12, panel.table(
          'Did the sysctls reach every network namespace?',
          'How many network namespaces have which sysctls: what sockets without settings of their own use. A pod '
          + "starts with the kernel's defaults, whatever the node is set to. A changed sysctl reaches connections that "
          + 'live only when the timer that was set before has fired: `keepwatch sockets` says for which that is so.',
          ['instance', 'idle_seconds', 'interval_seconds', 'probes'],
          [panel.column(
            'Network namespaces',
            'count by (instance, idle_seconds, interval_seconds, probes) (%s%s%s)' % [
              sysctl('idle_seconds', 'keepwatch_netns_keepalive_seconds', 'setting="idle"'),
              joined(
                'interval_seconds',
                sysctl('interval_seconds', 'keepwatch_netns_keepalive_seconds', 'setting="interval"'),
              ),
              joined('probes', sysctl('probes', 'keepwatch_netns_keepalive_probes')),
            ],
          )],
          names={ idle_seconds: 'First probe after (s)', interval_seconds: 'Then every (s)' },
        )],
        [12, panel.table(
          'Which settings does the kernel refuse?',
          'Failed setsockopt calls in the time range, by the process that made them.',
          ['workload', 'container', 'process', 'option', 'result'],
          [panel.column('Calls', q.happened(
            'keepwatch_setsockopt_total', 'result!="ok"', ['workload', 'container', 'process', 'option', 'result']
          ), steps=panel.none)],
        )],
      ]],
    ],
  )
