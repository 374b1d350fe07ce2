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
  local sysctl(setting) = 'max by (instance, netns) (%s)' % q.m(
    'keepwatch_netns_keepalive_seconds', 'setting="%s"' % setting
  );

  board.board(
    config,
    'node',
    'Node',
    'Who on this node holds unprotected connections, with which settings, and does keepalive do its work?',
    [],
    [
      [4, [
        [5, panels.unprotected],
        [5, panels.protectedShare],
        [5, panels.quietPastLimit],
        [5, panels.probing],
        [4, panels.idleDrops],
      ]],
      [10, [
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
          'Established outbound connections with keepalive on, by their effective idle setting in seconds: the '
          + 'bar of a number counts those up to it.',
          q.sum(q.m('keepwatch_idle_setting_seconds_bucket', query.outbound), ['le']),
        )],
        [8, panel.buckets(
          'How long until a dead peer is noticed?',
          'Established outbound connections with keepalive on, by the seconds of silence after which the kernel '
          + 'gives them up.',
          q.sum(q.m('keepwatch_detection_seconds_bucket', query.outbound), ['le']),
        )],
        [8, panels.deaths],
      ]],
      [8, [
        [8, panel.series(
          'Are probes answered?',
          'Keepalive probes a second: sent by this node, and answered by peers.',
          [
            [q.rate('keepwatch_probes_sent_total'), 'sent'],
            [q.rate('keepwatch_probes_answered_total'), 'answered'],
          ],
          'cps',
          { sent: color.plain, answered: color.good },
        )],
        [8, panel.series(
          'What does the keepalive timer do when it fires?',
          'Fires a second by outcome. Only `sent` sends a probe; `data_in_flight` means that retransmission '
          + 'has to notice a dead peer instead.',
          [[q.rate('keepwatch_timer_fires_total', '', ['outcome']), '{{outcome}}']],
          'cps',
          stacked=true,
        )],
        [8, panels.byVerdict],
      ]],
      [9, [
        [12, panel.table(
          'Did the sysctls reach every network namespace?',
          "What sockets without settings of their own use. A pod starts with the kernel's defaults, whatever "
          + 'the node is set to.',
          ['instance', 'netns'],
          [
            panel.column('Idle', sysctl('idle'), 'dtdurations'),
            panel.column('Interval', sysctl('interval'), 'dtdurations'),
            panel.column(
              'Probes', 'max by (instance, netns) (%s)' % q.m('keepwatch_netns_keepalive_probes')
            ),
          ],
        )],
        [12, panel.table(
          'Which settings does the kernel refuse?',
          'Failed setsockopt calls in the time range, by the process that made them.',
          ['workload', 'process', 'option', 'result'],
          [panel.column('Calls', q.happened(
            'keepwatch_setsockopt_total', 'result!="ok"', ['workload', 'process', 'option', 'result']
          ), steps=panel.none)],
        )],
      ]],
    ],
  )
