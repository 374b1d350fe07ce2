// One workload: is it protected, where not, since when, and what died of it?
local board = import '../lib/board.libsonnet';
local panel = import '../lib/panel.libsonnet';
local query = import '../lib/query.libsonnet';
local stock = import '../lib/stock.libsonnet';

function(config)
  local q = query.of(config, 'namespace=~"$namespace", workload=~"$workload"');
  local panels = stock.of(q);

  board.board(
    config,
    'workload',
    'Workload',
    'Is this workload protected, where not, since when, and what died of it? A workload is a Kubernetes '
    + 'workload or a systemd unit.',
    [
      board.label(config, 'namespace', 'Namespace'),
      board.label(config, 'workload', 'Workload', ', namespace=~"$namespace"'),
    ],
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
        [12, panels.inTrouble(['instance', 'process'], { instance: board.to('node', 'Open this node', ['instance']) })],
      ]],
      [9, [[12, panels.byVerdict], [12, panels.deaths]]],
      [6, [
        [12, panel.table(
          'Which of its processes are unprotected?',
          'Containers and the processes in them, by unprotected outbound connections.',
          ['container', 'process'],
          panels.columns(['container', 'process']),
        )],
        [12, panel.table(
          'On which nodes and paths?',
          'Where the unprotected outbound connections are. A click on a node opens its dashboard, one on a path '
          + "the path's.",
          ['instance', 'path'],
          panels.columns(['instance', 'path']),
          {
            instance: board.to('node', 'Open this node', ['instance']),
            path: board.to('path', 'Open this path', ['path']),
          },
        )],
      ]],
      [9, [
        [12, panel.series(
          'Since when are connections overdue?',
          'Overdue outbound connections: quiet for longer than the idle limit of their path, and nothing protects or '
          + 'keeps them.',
          [[query.named('path', q.overdue(['path'])), '{{path}}']],
        )],
        [12, panel.table(
          'Which settings does it make, and does the kernel take them?',
          'setsockopt calls in the time range, by option and result: ok, or the error. A program that ignores '
          + 'the error believes in a setting that is not there.',
          ['process', 'option', 'result'],
          [panel.column('Calls', q.happened('keepwatch_setsockopt_total', '', ['process', 'option', 'result']))],
        )],
      ]],
    ],
  )
