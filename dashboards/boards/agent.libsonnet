// The agents themselves: a quiet host, or a blind agent?
local board = import '../lib/board.libsonnet';
local color = import '../lib/color.libsonnet';
local panel = import '../lib/panel.libsonnet';
local query = import '../lib/query.libsonnet';

function(config)
  local q = query.of(config);
  local one(metric) = 'max by (instance) (%s)' % q.m(metric);
  local age = 'time() - ' + q.m('keepwatch_snapshot_timestamp_seconds');
  // Without `process_files`, which kernels before 6.1 never carry, nothing goes unseen.
  local attached = 'max by (instance, signal) (%s)' % q.m('keepwatch_hook_attached', 'signal!="process_files"');

  board.board(
    config,
    'agent',
    'Agent health',
    'Is a quiet dashboard a quiet fleet, or a blind agent? What each agent sees, what it misses, what it costs.',
    [],
    [
      [4, [
        [4, panel.stat(
          'How many agents do not answer?',
          'Targets that could not be scraped.',
          'count(%s) - sum(%s)' % [q.m('up'), q.m('up')],
          steps=panel.none,
        )],
        [4, panel.stat(
          'How many signals are unseen?',
          'Signals that no hook carries, summed over agents.',
          'sum(1 - %s)' % attached,
          steps=panel.none,
        )],
        [4, panel.stat(
          'How many events were lost?',
          'In the time range, on the way from the hooks to the table.',
          q.happened('keepwatch_events_lost_total'),
          steps=panel.none,
          decimals=0,
        )],
        [4, panel.stat(
          'How old is the oldest snapshot?',
          'Verdicts, owners and quiet times are as old.',
          'max(%s)' % age,
          's',
          panel.below(config.snapshotAge),
          decimals=0,
        )],
        [4, panel.stat(
          'How many sockets have no room?',
          'Sockets that an agent leaves out because its table is full.',
          q.sum(q.m('keepwatch_sockets_untracked')),
          steps=panel.none,
        )],
        [4, panel.stat(
          'How many changes are unseen?',
          'In the time range: settings that a snapshot found changed without a setsockopt call that explains it.',
          q.happened('keepwatch_settings_changed_unseen_total'),
          decimals=0,
        )],
      ]],
      [9, [
        [16, panel.table(
          'How is each agent?',
          'Its version, when it started, what it watches and what it costs. A click on a node opens its dashboard.',
          ['instance', 'version'],
          [
            panel.column(
              'Sockets',
              '%s * on (instance) group_left (version) %s'
              % [one('keepwatch_sockets_tracked'), q.m('keepwatch_build_info')],
            ),
            panel.column('Snapshot age', 'max by (instance) (%s)' % age, 's', panel.below(config.snapshotAge)),
            panel.column('Sees its host', one('keepwatch_host_processes_visible')),
            panel.column('Has eBPF', 'max by (instance) (%s)' % q.m('keepwatch_source_info', 'source="kernel"')),
            panel.column('Not seen', 'sum by (instance) (%s)' % q.m('keepwatch_not_seen')),
            panel.column('Sandbox parts', 'sum by (instance) (%s)' % q.m('keepwatch_sandbox')),
            panel.column('Memory', one('process_resident_memory_bytes'), 'bytes'),
            panel.column('Open files', one('process_open_fds')),
            panel.column(
              'Config read',
              'min by (instance) (%s) * 1000' % q.m('keepwatch_config_last_reload_success_timestamp_seconds'),
              'dateTimeFromNow',
            ),
            panel.column('Started', one('process_start_time_seconds') + ' * 1000', 'dateTimeFromNow'),
          ],
          { instance: board.to('node', 'Open this node', ['instance']) },
        )],
        [8, panel.table(
          'Which hook carries which signal?',
          'On how many nodes a hook is attached, and on how many it is not. A signal is seen where one of its '
          + 'hooks is.',
          ['signal', 'mechanism'],
          [
            panel.column('Attached', q.sum(q.m('keepwatch_hook_attached'), ['signal', 'mechanism'])),
            panel.column('Not', q.sum('1 - ' + q.m('keepwatch_hook_attached'), ['signal', 'mechanism'])),
          ],
        )],
      ]],
      [8, [
        [6, panel.series(
          'Do events arrive?',
          'Records a second at each stage from the hooks to the table. What was submitted should be received and '
          + 'decoded.',
          [[q.rate('keepwatch_events_total', '', ['stage']), '{{stage}}']],
          panel.perSecond,
        )],
        [6, panel.series(
          'Where are events lost?',
          'Records a second: ring_full, the agent did not keep up; undecodable, hooks and agent disagree.',
          [[q.rate('keepwatch_events_lost_total', '', ['stage']), '{{stage}}']],
          panel.perSecond,
          { ring_full: color.bad, undecodable: color.warning },
        )],
        [6, panel.series(
          'Is the end of every connection reported?',
          'Ends a second: counted in the kernel, exactly, and reported with their cause. Failed handshakes are ends '
          + 'too.',
          [
            [q.rate('keepwatch_connections_ended_total'), 'counted'],
            [q.rate('keepwatch_deaths_total'), 'reported'],
          ],
          panel.perSecond,
          { counted: color.plain, reported: color.good },
        )],
        [6, panel.series(
          'Do snapshots have to correct the events?',
          'A second: sockets whose end no event reported, and settings that changed without a setsockopt call.',
          [
            [q.rate('keepwatch_sockets_pruned_total'), 'sockets removed'],
            [q.rate('keepwatch_settings_changed_unseen_total', '', ['option']), '{{option}} changed'],
          ],
          panel.perSecond,
        )],
      ]],
      [8, [
        [6, panel.series(
          'How long does a snapshot take?',
          'Wall time of the last snapshot of all sockets.',
          [[one('keepwatch_snapshot_seconds'), '{{instance}}']],
          's',
        )],
        [6, panel.series(
          'Do snapshots succeed?',
          'Snapshots a second that were finished, and that failed.',
          [
            [q.rate('keepwatch_snapshots_total'), 'finished'],
            [q.rate('keepwatch_snapshot_failures_total'), 'failed'],
          ],
          panel.perSecond,
          { finished: color.good, failed: color.bad },
        )],
        [6, panel.series(
          'How much processor time does an agent take?',
          'Cores in use by each agent.',
          [[q.rate('process_cpu_seconds_total', '', ['instance']), '{{instance}}']],
          'percentunit',
        )],
        [6, panel.series(
          'Which names are folded into ~other?',
          'Values of a label that are past its bound and have no row of their own: the most on any node.',
          [['max by (label) (%s)' % q.m('keepwatch_label_values_folded'), '{{label}}']],
        )],
      ]],
      [8, [
        [8, panel.series(
          'What does the keepalive timer do when it fires?',
          'Fires a second by outcome. Only `sent` sends a probe; `data_in_flight` means that retransmission '
          + 'has to notice a dead peer instead.',
          [[q.rate('keepwatch_timer_fires_total', '', ['outcome']), '{{outcome}}']],
          panel.perSecond,
          stacked=true,
        )],
        [8, panel.series(
          'Is what happens written down?',
          'Records a second that are not in the history on disk: budget, there were too many; size, they made room; '
          + 'queue, the writer was behind; disk, it could not be written. And events a second that the agent does not '
          + 'remember either, because '
          + 'more connections live than --max-histories allows.',
          [
            [q.rate('keepwatch_history_lost_total', '', ['reason']), '{{reason}}'],
            [q.rate('keepwatch_events_unremembered_total'), 'not in memory'],
          ],
          panel.perSecond,
          { disk: color.bad, queue: color.warning, budget: color.plain, size: color.plain, 'not in memory': color.warning },
        )],
        [8, panel.series(
          'How large is the history on disk?',
          'Bytes in use; --history-bytes and --history-days bound it.',
          [[one('keepwatch_history_bytes'), '{{instance}}']],
          'bytes',
        )],
      ]],
    ],
  )
