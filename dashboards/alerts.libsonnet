// What is worth telling somebody. Each alert has its section in docs/RUNBOOK.md.
{
  local config = $._config,
  local values = config + $._recorded + {
    workload: config.clusterLabel + ', namespace, workload, node',
    agent: config.clusterLabel + ', job, instance',
  },
  local severity = { warning: 'warning', info: 'info' },

  // Where it is, in a description: `payments/checkout`, `nginx.service`, `container c0ffee9137aa on node1:10077`.
  local workload = '{{ with $labels.namespace }}{{ . }}/{{ end }}{{ $labels.workload }}'
                   + '{{ with $labels.node }} on {{ . }}{{ end }}',
  local inTrouble(matchers) = $._named('keepwatch_sockets_in_trouble{%s, %s}' % [config.selector, matchers]),
  local onPath = '{{ with $labels.path }} on path {{ . }}{{ end }}',
  local n = '{{ $value | humanize }}',
  local inbound = '{{ if eq $labels.direction "inbound" }} that peers opened{{ end }}',

  // Connections of a workload that get no answer. Of those that peers opened some are always so on a public server.
  local unanswered(condition) = |||
    sum by (%%(workload)s, direction) (%(outbound)s) > %%(unansweredAtMost)d
    or
    sum by (%%(workload)s, direction) (%(inbound)s) > %%(unansweredInboundAtMost)d
  ||| % {
    outbound: inTrouble('condition="%s", direction="outbound"' % condition),
    inbound: inTrouble('condition="%s", direction="inbound"' % condition),
  },

  // `minutes`: how long it must hold.
  local alert(name, severity, minutes, expr, summary, description) = {
    alert: name,
    expr: expr % values,
    'for': '%ds' % (minutes * 60 * config.patience),
    labels: { severity: severity },
    annotations: {
      summary: summary,
      description: description,
      runbook_url: config.runbookURL % std.asciiLower(name),
    },
  },

  prometheusAlerts+:: {
    groups: [
      {
        name: 'keepwatch.connections',
        rules: [
          alert(
            'KeepwatchStuck',
            severity.warning,
            1,
            unanswered('stuck'),
            'Connections wait for an answer that does not come.',
            'Connections of ' + workload + inbound + ' whose data is repeated and not answered: ' + n
            + '. Their program hangs until the kernel or its own timeout gives them up.',
          ),
          alert(
            'KeepwatchPeerSilent',
            severity.warning,
            1,
            unanswered('peer_silent'),
            'Keepalive probes go unanswered: a peer or a path is dark.',
            'Connections of ' + workload + inbound + ' whose peer left two or more probes in a row unanswered: ' + n
            + '. The kernel ends them once the last probe is unanswered.',
          ),
          alert(
            'KeepwatchOverdue',
            severity.warning,
            10,
            |||
              %(overdue)s > %(overdueAtMost)d
            |||,
            'Unprotected connections have been quiet for longer than their path allows.',
            'Outbound connections of ' + workload + onPath + ' that nothing protects or keeps, and that are quiet past the'
            + ' idle limit: ' + n + '. A middlebox has dropped them, or will before they are used again.',
          ),
          alert(
            'KeepwatchPeerClosed',
            severity.warning,
            15,
            |||
              %(peerClosed)s > %(peerClosedAtMost)d
              or
              (
                %(peerClosed)s
                and
                %(peerClosed)s - max_over_time(%(peerClosed)s[%(window)s] offset %(before)s) >= %(peerClosedGrewBy)d
              )
            |||,
            'A program does not close connections that its peers have closed.',
            'Connections of ' + workload + ' that the peer has closed and the program has not: ' + n
            + '. It leaks them, or it does not read.',
          ),
          alert(
            'KeepwatchUnaccepted',
            severity.warning,
            5,
            |||
              sum by (%%(workload)s) (%s) > %%(unacceptedAtMost)d
            ||| % inTrouble('condition="unaccepted"'),
            'A server does not accept the connections that clients made.',
            'Connections to ' + workload + ' that wait in its accept queue: ' + n
            + '. Their clients believe that they are connected.',
          ),
          alert(
            'KeepwatchIdleDrops',
            severity.warning,
            0,
            |||
              sum without (cause) (%(deaths)s{cause="idle_drop"}) > 0
              and
              max by (%(workload)s, path) (%(risen)s) >= %(idleDropOccasions)d
            ||| % (values + {
              local occasions = 'keepwatch_idle_drop_occasions_total{%(selector)s}' % config,
              risen: $._named('%(of)s - (%(of)s offset %(over)s <= %(of)s or 0 * %(of)s)' % {
                of: occasions,
                over: config.idleDropsOver,
              }),
            }),
            'Connections die because something on the path forgets them while they are quiet.',
            'Idle drops of ' + workload + onPath + ' in the last ' + config.window + ': ' + n
            + '. They were not the first of the day, and one outage does not explain them all.',
          ),
          alert(
            'KeepwatchKeepaliveTimeouts',
            severity.warning,
            0,
            |||
              sum without (cause) (%(deaths)s{cause="keepalive_timeout"}) > %(timeoutsAtMost)d
              unless
              sum without (cause) (%(deaths)s{cause="keepalive_timeout"})
                <= 2 * sum without (cause) (%(deaths)s{cause="keepalive_timeout"} offset %(before)s)
            |||,
            'Keepalive timeouts are rising: a peer or a path is dark.',
            'Connections of ' + workload + onPath + ' that died of unanswered probes in the last '
            + config.window + ': ' + n + ', more than twice as many as ' + config.before + ' before.',
          ),
          alert(
            'KeepwatchProtectionFell',
            severity.warning,
            10,
            |||
              avg_over_time(%(protectedShare)s[%(usually)s] offset %(before)s)
                - %(protectedShare)s > %(protectedShareFell)g
              and
              %(unprotectedShare)s > %(protectedShareFell)g
              and
              %(connections)s >= %(protectedShareConnections)d
            |||,
            'A workload protects fewer of its connections than it used to.',
            'Of the outbound connections of ' + workload + ', {{ $value | humanizePercentage }} lost their protection,'
            + ' compared with the average of ' + config.usually + ': look at what was deployed or configured since.',
          ),
          alert(
            'KeepwatchSettingRefused',
            severity.info,
            0,
            $._risen('by (%(workload)s, option, result)', 'keepwatch_setsockopt_total{%(selector)s, result!="ok"}') + '> 0\n',
            'The kernel refuses a keepalive setting, and the program goes on without it.',
            workload + ' sets {{ $labels.option }} to what the kernel refuses with {{ $labels.result }}; calls in'
            + ' the last ' + config.window + ': ' + n + '.',
          ),
          alert(
            'KeepwatchLimitTooLong',
            severity.warning,
            15,
            |||
              min by (%(clusterLabel)s, path) (
                keepwatch_path_idle_limit_seconds{%(selector)s, path!="", source="learned"}
              )
              < on (%(clusterLabel)s, path)
              min by (%(clusterLabel)s, path) (
                keepwatch_path_idle_limit_seconds{%(selector)s, path!="", source!="learned"}
              )
            |||,
            'A path forgets connections sooner than its idle limit says.',
            'Path {{ $labels.path }} was seen to drop connections that had been quiet for '
            + '{{ $value | humanizeDuration }}, sooner than the idle limit that is set for it: what counts'
            + ' as protected there may not be.',
          ),
        ],
      },
      {
        name: 'keepwatch.agents',
        rules: [
          alert(
            'KeepwatchAgentDown',
            severity.warning,
            10,
            |||
              up{%(selector)s} == 0
            |||,
            'A keepwatch agent does not answer.',
            'The agent at {{ $labels.instance }} cannot be scraped: nothing is known of the connections there.',
          ),
          alert(
            'KeepwatchAgentsMissing',
            severity.warning,
            10,
            |||
              absent(up{%(selector)s})
            |||,
            'Prometheus has no keepwatch agent to scrape.',
            'There is no target at all with ' + std.strReplace(config.selector, '"', '')
            + ': silence means nothing now.',
          ),
          // Without `process_files`, which kernels before 6.1 never carry, no connection and no event goes unseen.
          alert(
            'KeepwatchAgentBlind',
            severity.warning,
            10,
            |||
              max by (%(agent)s, signal) (keepwatch_hook_attached{%(selector)s, signal!="process_files"}) == 0
            |||,
            'A keepwatch agent is blind: no hook carries a signal.',
            'The agent at {{ $labels.instance }} sees no {{ $labels.signal }}: every hook for it was refused.',
          ),
          alert(
            'KeepwatchHostUnseen',
            severity.warning,
            10,
            |||
              keepwatch_host_processes_visible{%(selector)s} == 0
              unless on (%(agent)s)
              keepwatch_source_info{%(selector)s, source="proc"}
            |||,
            'A keepwatch agent does not see the processes of its host.',
            'The agent at {{ $labels.instance }} lacks the pid namespace or the /proc of its host: connections are missing'
            + ' there, or have no owner.',
          ),
          // Alerts on events and causes of death hang on metrics that are absent there: their silence means nothing.
          alert(
            'KeepwatchWithoutEbpf',
            severity.info,
            10,
            |||
              keepwatch_source_info{%(selector)s, source="proc"} == 1
            |||,
            'A keepwatch agent works without eBPF: several alerts cannot fire there.',
            'The agent at {{ $labels.instance }} reads connections from /proc: it sees no events, no probes and no refused'
            + ' settings, and no cause of death but what its last look supports.',
          ),
          alert(
            'KeepwatchEventsLost',
            severity.warning,
            0,
            |||
              sum by (%(agent)s, stage) (increase(keepwatch_events_lost_total{%(selector)s}[%(window)s])) > 0
            |||,
            'A keepwatch agent loses events.',
            'Events that the agent at {{ $labels.instance }} lost at {{ $labels.stage }} in the last '
            + config.window + ': ' + n + '. Causes of death may be missing, totals are not.',
          ),
          alert(
            'KeepwatchConfigNotReloaded',
            severity.warning,
            5,
            |||
              keepwatch_config_last_reload_successful{%(selector)s} == 0
            |||,
            'A keepwatch agent refuses its configuration.',
            'The agent at {{ $labels.instance }} has refused the {{ $labels.file }} that is on disk: an older one holds,'
            + ' and certificates in use may be about to expire.',
          ),
          alert(
            'KeepwatchHistoryLost',
            severity.warning,
            0,
            |||
              sum by (%(agent)s, reason) (
                increase(keepwatch_history_lost_total{%(selector)s, reason=~"queue|disk|invalid"}[%(window)s])
              ) > 0
            |||,
            'A keepwatch agent does not write everything down.',
            'Records that the agent at {{ $labels.instance }} lost at the {{ $labels.reason }} in the last '
            + config.window + ': ' + n + '. They will be missing when somebody asks why a connection died.',
          ),
          alert(
            'KeepwatchSnapshotOld',
            severity.warning,
            5,
            |||
              time() - keepwatch_snapshot_timestamp_seconds{%(selector)s} > %(snapshotAge)d
            |||,
            'A keepwatch agent has not looked at its sockets for a while.',
            'The last snapshot of the agent at {{ $labels.instance }} ended {{ $value | humanizeDuration }} ago:'
            + ' verdicts, owners and quiet times are as old.',
          ),
          // These two come through node_exporter, whose job it is.
          alert(
            'KeepwatchRowsWrong',
            severity.warning,
            0,
            |||
              sum by (%(agent)s) (keepwatch_verified_sockets{result="differ"}) > 0
            |||,
            'keepwatch says of sockets what is not so.',
            'Sockets of {{ $labels.instance }} whose settings are not what keepwatch shows, in the last run of'
            + ' `keepwatch doctor --verify`: ' + n + '. Verdicts of this host are not to be believed.',
          ),
          alert(
            'KeepwatchVerifyOld',
            severity.warning,
            0,
            |||
              time() - keepwatch_verified_timestamp_seconds > %(verifyAge)d
            |||,
            'Nobody checks any more whether the rows of keepwatch are true.',
            '`keepwatch doctor --verify` has run on {{ $labels.instance }} {{ $value | humanizeDuration }} ago for the last'
            + ' time, and writes no new numbers.',
          ),
          alert(
            'KeepwatchTableFull',
            severity.warning,
            5,
            |||
              keepwatch_sockets_untracked{%(selector)s} > 0
            |||,
            'A keepwatch agent has no room for all sockets of its host.',
            'Sockets that the agent at {{ $labels.instance }} leaves out because its table is full: ' + n + '.',
          ),
        ],
      },
    ],
  },
}
