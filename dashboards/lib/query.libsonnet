// Selectors and sums: every series is picked by the dashboard's variables.
{
  // Matchers.
  outbound:: 'direction="outbound"',
  unprotected:: 'direction="outbound", verdict=~"off|late"',
  off:: 'direction="outbound", verdict="off"',
  late:: 'direction="outbound", verdict="late"',
  protected:: 'direction="outbound", verdict="protected"',
  // A connection to the same host needs no protection.
  judged:: 'direction="outbound", verdict!="local"',
  idleDrop:: 'cause="idle_drop"',
  // Deaths that nobody wanted: not closed by either side.
  unwanted:: 'cause!~"peer_closed|local_closed"',

  // For a legend: what has the label empty is called `no NAME`.
  named(label, expr):: 'label_replace(%s, "%s", "no %s", "%s", "")' % [expr, label, label, label],

  // `scope`: further matchers of a dashboard that looks at less than everything.
  of(config, scope=''):: {
    local q = self,
    local also(matchers) = if matchers == '' then '' else ', ' + matchers,

    // `keepwatch_sockets{cluster=~"$cluster", job=~"$job", instance=~"$instance", more}`.
    m(metric, more=''):
      '%s{%s=~"$cluster", job=~"$job", instance=~"$instance"%s%s}'
      % [metric, config.clusterLabel, also(scope), also(more)],
    sum(expr, by=[]):
      'sum%s(%s)' % [if by == [] then '' else ' by (%s) ' % std.join(', ', by), expr],

    sockets(matchers, by=[], before=''): q.sum(q.m('keepwatch_sockets', matchers) + before, by),
    quietPastLimit(by=[]): q.sum(q.m('keepwatch_sockets_quiet_past_limit', $.unprotected), by),
    // How many in the time range; how many a second.
    happened(metric, matchers='', by=[]): q.sum('increase(%s[$__range])' % q.m(metric, matchers), by),
    rate(metric, matchers='', by=[]): q.sum('rate(%s[$__rate_interval])' % q.m(metric, matchers), by),
    // Where nothing is protected there is no such series, yet the share is 0.
    protectedShare(by=[], before=''):
      '(%s or 0 * %s) / %s' % [
        q.sockets($.protected, by, before),
        q.sockets($.judged, by, before),
        q.sockets($.judged, by, before),
      ],
  },
}
