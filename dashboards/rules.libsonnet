// Sums that alerts need, and that stay cheap to ask for over weeks.
{
  local config = $._config,
  local by(labels) = 'by (' + std.join(', ', [config.clusterLabel] + labels) + ')',
  local workload = ['namespace', 'workload'],
  local values = config {
    byWorkload: by(workload),
    byPath: by(workload + ['path']),
    byCause: by(workload + ['path', 'cause']),
  },
  local prefix = config.clusterLabel + '_namespace_workload',

  // The names, for alerts.
  _recorded:: {
    overdue: prefix + '_path:keepwatch_sockets_in_trouble:overdue',
    peerClosed: prefix + ':keepwatch_sockets_in_trouble:peer_closed',
    connections: prefix + ':keepwatch_sockets:judged',
    protectedShare: prefix + ':keepwatch_sockets:protected_ratio',
    unprotectedShare: prefix + ':keepwatch_sockets:unprotected_ratio',
    deaths: prefix + '_path_cause:keepwatch_deaths:increase' + config.window,
  },

  // By how much counters rose in `window`. increase() does not see a counter's first value: a series that
  // is new in an agent that was already scraped then has all its value from this window.
  _risen(by, counters):: |||
    sum %(by)s (
      (
        (%(counters)s unless %(counters)s offset %(window)s)
        and on (%(clusterLabel)s, job, instance)
        (up{%(selector)s} offset %(window)s == 1)
      )
      or
      increase(%(counters)s[%(window)s])
    )
  ||| % (config { by: by, counters: counters }),

  prometheusRules+:: {
    groups: [{
      name: 'keepwatch.rules',
      rules: [
        // Outbound: the side that can do something about it. `local` connections need no protection.
        {
          record: $._recorded.overdue,
          expr: |||
            sum %(byPath)s (
              keepwatch_sockets_in_trouble{%(selector)s, condition="overdue", direction="outbound"}
            )
          ||| % values,
        },
        // 0 where there is none: there are no rows then, and what comes back is no growth.
        {
          record: $._recorded.peerClosed,
          expr: |||
            sum %(byWorkload)s (keepwatch_sockets_in_trouble{%(selector)s, condition="peer_closed"})
            or
            0 * sum %(byWorkload)s (keepwatch_sockets{%(selector)s})
          ||| % values,
        },
        {
          record: $._recorded.connections,
          expr: |||
            sum %(byWorkload)s (keepwatch_sockets{%(selector)s, direction="outbound", verdict!="local"})
          ||| % values,
        },
        {
          record: $._recorded.protectedShare,
          expr: |||
            (
              sum %(byWorkload)s (keepwatch_sockets{%(selector)s, direction="outbound", verdict="protected"})
              or
              0 * %(connections)s
            )
            /
            (%(connections)s > 0)
          ||| % (values + $._recorded),
        },
        // Not the rest of it: what else keeps a connection so far leaves it neither protected nor unprotected.
        {
          record: $._recorded.unprotectedShare,
          expr: |||
            (
              sum %(byWorkload)s (keepwatch_sockets{%(selector)s, direction="outbound", verdict=~"off|late"})
              or
              0 * %(connections)s
            )
            /
            (%(connections)s > 0)
          ||| % (values + $._recorded),
        },
        {
          record: $._recorded.deaths,
          expr: $._risen(values.byCause, 'keepwatch_deaths_total{%(selector)s}' % values),
        },
      ],
    }],
  },
}
