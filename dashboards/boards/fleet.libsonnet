// Which workloads of all nodes hold connections that a quiet hour will kill?
local board = import '../lib/board.libsonnet';
local color = import '../lib/color.libsonnet';
local panel = import '../lib/panel.libsonnet';
local query = import '../lib/query.libsonnet';
local stock = import '../lib/stock.libsonnet';

function(config)
  local q = query.of(config);
  local panels = stock.of(q);
  local workload = ['namespace', 'workload'];
  local toWorkload = { workload: board.to('workload', 'Open this workload', workload) };

  board.board(
    config,
    'fleet',
    'Fleet',
    'Which workloads hold connections that a quiet hour will kill, on all nodes. Outbound connections: the '
    + 'side that opened a connection can protect it.',
    [],
    [
      [4, [
        [4, panels.unprotected],
        [4, panels.protectedShare],
        [4, panels.quietPastLimit],
        [4, panels.probing],
        [4, panels.idleDrops],
        [4, panel.stat(
          'Are all agents watching?',
          'The share of agents that answer. What is not watched is missing in every other panel.',
          'avg(%s)' % q.m('up'),
          'percentunit',
          [[null, color.bad], [1, color.good]],
        )],
      ]],
      [9, [[12, panels.byVerdict], [12, panels.deaths]]],
      [11, [
        [24, panel.table(
          'Which workloads would a quiet hour hurt most?',
          'The workloads with the most unprotected outbound connections. A click on a workload opens its '
          + 'dashboard.',
          workload,
          panels.columns(workload),
          toWorkload,
        )],
      ]],
      [9, [
        [12, panel.table(
          'Which paths have unprotected connections?',
          'A path is an idle limit that was given a name; other connections have none. A click on a path opens '
          + 'its dashboard.',
          ['path'],
          [
            panel.column('Unprotected', q.sockets(query.unprotected, ['path']), steps=panel.none),
            panel.column('Quiet past limit', q.quietPastLimit(['path']), steps=panel.none),
            panel.column(
              'Shortest limit', 'min by (path) (%s)' % q.m('keepwatch_path_idle_limit_seconds'), 'dtdurations'
            ),
          ],
          { path: board.to('path', 'Open this path', ['path']) },
        )],
        [12, panel.table(
          'Which workloads lost protection?',
          'The protected share of outbound connections now and at the beginning of the time range.',
          workload,
          local before = q.protectedShare(workload, ' offset $__range');
          local now = q.protectedShare(workload);
          [
            panel.column(
              'Lost',
              '%s - %s' % [before, now],
              'percentunit',
              [[null, color.good], [0.05, color.warning], [0.2, color.bad]],
            ),
            panel.column('Before', before, 'percentunit'),
            panel.column('Now', now, 'percentunit'),
          ],
          toWorkload,
          limit=10,
        )],
      ]],
    ],
  )
