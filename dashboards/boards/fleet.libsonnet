// Which workloads of all nodes hold connections that a quiet hour will kill?
local board = import '../lib/board.libsonnet';
local color = import '../lib/color.libsonnet';
local panel = import '../lib/panel.libsonnet';
local query = import '../lib/query.libsonnet';
local stock = import '../lib/stock.libsonnet';

function(config)
  local q = query.of(config);
  local panels = stock.of(q);
  // The workload by itself is for the link: it is empty where `owner` names a container or a process.
  local workload = ['namespace', 'workload', 'owner', 'node'];
  local toWorkload = { owner: board.to('workload', 'Open this workload', ['namespace', 'workload']) };
  local hidden = ['workload'];

  board.board(
    config,
    'fleet',
    'Fleet',
    'Which workloads hold connections that a quiet hour will kill, on all nodes. Outbound connections: the '
    + 'side that opened a connection can protect it.',
    [],
    [
      [4, [
        [4, panels.stuck],
        [4, panels.peerSilent],
        [4, panels.overdue],
        [4, panels.idleDrops],
        [4, panels.safeShare],
        [4, panel.stat(
          'Are all agents watching?',
          'The share of agents that answer. What is not watched is missing in every other panel.',
          'avg(%s)' % q.m('up'),
          'percentunit',
          [[null, color.bad], [1, color.good]],
        )],
      ]],
      [8, [[12, panels.conditions], [12, panels.inTrouble(workload, toWorkload, hidden)]]],
      [9, [[12, panels.byVerdict], [12, panels.deaths]]],
      [9, [
        [24, panel.table(
          'Which workloads would a quiet hour hurt most?',
          'The workloads with the most unprotected outbound connections. A click on a workload opens its '
          + 'dashboard.',
          workload,
          panels.columns(workload),
          toWorkload,
          hidden=hidden,
        )],
      ]],
      [7, [
        [12, panel.table(
          'Which paths have unprotected connections?',
          'A path is an idle limit that was given a name; other connections have none. A click on a path opens '
          + 'its dashboard.',
          ['path', 'path_name'],
          [
            panel.column(
              'Unprotected',
              query.namedBeside('path', q.sockets(query.unprotected, ['path'])),
              steps=panel.none,
            ),
            panel.column('Overdue', query.namedBeside('path', q.overdue(['path'])), steps=panel.none),
            panel.column(
              'Shortest limit',
              query.namedBeside('path', 'min by (path) (%s)' % q.m('keepwatch_path_idle_limit_seconds')),
              'dtdurations',
            ),
          ],
          { path_name: board.to('path', 'Open this path', ['path']) },
          names={ path_name: 'Name' },
          hidden=['path'],
        )],
        [12, panel.table(
          'Which workloads lost protection?',
          'The share of outbound connections that keepalive protects, now and at the beginning of the time range, '
          + 'where it fell by more than 1 % and connections are unprotected now.',
          workload,
          local before = q.protectedShare(workload, ' offset $__range');
          local now = q.protectedShare(workload);
          local lost = '(%s - %s > 0.01 and %s > 0)' % [before, now, q.sockets(query.unprotected, workload)];
          [
            panel.column(
              'Lost',
              lost,
              'percentunit',
              [[null, color.good], [0.05, color.warning], [0.2, color.bad]],
            ),
            panel.column('Before', '%s and %s' % [before, lost], 'percentunit'),
            panel.column('Now', '%s and %s' % [now, lost], 'percentunit'),
          ],
          toWorkload,
          limit=10,
          hidden=hidden,
        )],
      ]],
    ],
  )
