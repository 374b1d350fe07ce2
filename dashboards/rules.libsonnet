// Sums that alerts need, and that stay cheap to ask for over weeks.
local owner = import 'lib/owner.libsonnet';
{
  local config = $._config,
  local by(labels) = 'by (' + std.join(', ', [config.clusterLabel] + labels) + ')',
  local workload = ['namespace', 'workload', 'node'],
  local values = config {
    byWorkload: by(workload),
    byPath: by(workload + ['path']),
    byCause: by(workload + ['path', 'cause']),
  },
  local prefix = config.clusterLabel + '_namespace_workload_node',

  local sockets(metric, matchers) =
    $._named('%s{%s%s}' % [metric, config.selector, if matchers == '' then '' else ', ' + matchers]),

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
  _risen(by, counters):: 'sum %s (%s)\n' % [by, $._named(|||
    (
      (%(counters)s unless %(counters)s offset %(window)s)
      and on (%(clusterLabel)s, job, instance)
      (up{%(selector)s} offset %(window)s == 1)
    )
    or
    increase(%(counters)s[%(window)s])
  ||| % (config { counters: counters }))],
  _named(expr):: owner.named('workload', std.strReplace(expr, '\n', ' ')),

  prometheusRules+:: {
    groups: [{
      name: 'keepwatch.rules',
      rules: [
        // Outbound: the side that can do something about it. `local` connections need no protection.
        {
          record: $._recorded.overdue,
          expr: |||
            sum %(byPath)s (%(of)s)
          ||| % (values { of: sockets('keepwatch_sockets_in_trouble', 'condition="overdue", direction="outbound"') }),
        },
        // 0 where there is none: there are no rows then, and what comes back is no growth.
        {
          record: $._recorded.peerClosed,
          expr: |||
            sum %(byWorkload)s (%(closed)s)
            or
            0 * sum %(byWorkload)s (%(all)s)
          ||| % (values {
            closed: sockets('keepwatch_sockets_in_trouble', 'condition="peer_closed"'),
            all: sockets('keepwatch_sockets', ''),
          }),
        },
        {
          record: $._recorded.connections,
          expr: |||
            sum %(byWorkload)s (%(of)s)
          ||| % (values { of: sockets('keepwatch_sockets', 'direction="outbound", verdict!="local"') }),
        },
        {
          record: $._recorded.protectedShare,
          expr: |||
            (
              sum %(byWorkload)s (%(of)s)
              or
              0 * %(connections)s
            )
            /
            (%(connections)s > 0)
          ||| % (values + $._recorded { of: sockets('keepwatch_sockets', 'direction="outbound", verdict="protected"') }),
        },
        // Not the rest of it: what else keeps a connection so far leaves it neither protected nor unprotected.
        {
          record: $._recorded.unprotectedShare,
          expr: |||
            (
              sum %(byWorkload)s (%(of)s)
              or
              0 * %(connections)s
            )
            /
            (%(connections)s > 0)
          ||| % (values + $._recorded { of: sockets('keepwatch_sockets', 'direction="outbound", verdict=~"off|late"') }),
        },
        {
          record: $._recorded.deaths,
          expr: $._risen(values.byCause, 'keepwatch_deaths_total{%(selector)s}' % values),
        },
      ],
    }],
  },
}
