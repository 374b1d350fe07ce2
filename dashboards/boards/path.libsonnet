// One path: how long does it keep a quiet connection, and who trusts it for longer?
local board = import '../lib/board.libsonnet';
local color = import '../lib/color.libsonnet';
local panel = import '../lib/panel.libsonnet';
local query = import '../lib/query.libsonnet';
local stock = import '../lib/stock.libsonnet';

function(config)
  local q = query.of(config, 'path=~"$path"');
  local nodes = query.of(config);
  local panels = stock.of(q);
  // The workload by itself is for the link: it is empty where `owner` names a container or a process.
  local workload = ['namespace', 'workload', 'owner', 'node'];
  local toWorkload = { owner: board.to('workload', 'Open this workload', ['namespace', 'workload']) };
  local hidden = ['workload'];
  local limit(source) = query.named(
    'path', 'min by (path) (%s)' % q.m('keepwatch_path_idle_limit_seconds', 'source="%s"' % source)
  );

  board.board(
    config,
    'path',
    'Path',
    'How long does a path keep a quiet connection, and who trusts it for longer? A path is an idle limit that '
    + 'was given a name.',
    [board.label(config, 'path', 'Path')],
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
        [12, panels.inTrouble(workload, toWorkload, hidden)],
      ]],
      [9, [
        [12, panel.table(
          'Which idle limits are known?',
          'Seconds of quiet that a path allows, by where that is known from. Learned: longer than what survived, '
          + 'not longer than what died. The shortest of all agents.',
          ['path'],
          [
            panel.column('Configured', limit('configured'), 'dtdurations'),
            panel.column('Preset', limit('preset'), 'dtdurations'),
            panel.column('Learned', limit('learned'), 'dtdurations'),
          ],
        )],
        [12, panel.buckets(
          'How long were connections quiet before an idle drop?',
          'Idle drops in the time range by the quiet time before them, on all paths: a limit shows as the first '
          + 'bar that is not empty.',
          panel.quietBounds,
          nodes.happened('keepwatch_quiet_before_death_seconds_bucket', query.idleDrop, ['le']),
          [[null, color.bad]],
        )],
      ]],
      [9, [
        [12, panel.series(
          'Which paths have unprotected connections?',
          'Established outbound connections without keepalive, or with a first probe after the idle limit.',
          [[query.named('path', q.sockets(query.unprotected, ['path'])), '{{path}}']],
        )],
        [12, panel.series(
          'Which paths hold connections that are probably dead?',
          'Overdue outbound connections: quiet for longer than the idle limit of their path, and nothing protects or '
          + 'keeps them.',
          [[query.named('path', q.overdue(['path'])), '{{path}}']],
        )],
      ]],
      [9, [
        [12, panels.deaths],
        [12, panel.table(
          'Which workloads are unprotected here?',
          'Workloads by unprotected outbound connections on this path. A click on a workload opens its '
          + 'dashboard.',
          workload,
          panels.columns(workload),
          toWorkload,
          hidden=hidden,
        )],
      ]],
    ],
  )
