// Selectors and sums: every series is picked by the dashboard's variables.
local owner = import 'owner.libsonnet';
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

  // Settings give no protection, but the peer's probes or traffic kept it so far.
  kept:: 'direction="outbound", verdict="kept"',
  overdue:: 'condition="overdue", direction="outbound"',

  // For a legend: what has the label empty is called `no NAME`.
  named(label, expr):: 'label_replace(%s, "%s", "no %s", "%s", "")' % [expr, label, label, label],
  // For a table: the same in a label of its own. The first one stays as it is, for links.
  namedBeside(label, expr)::
    'label_replace(label_replace(%(expr)s, "%(label)s_name", "$1", "%(label)s", "(.*)"), '
    % { expr: expr, label: label }
    + '"%(label)s_name", "no %(label)s", "%(label)s", "")' % { label: label },

  // `scope`: further matchers of a dashboard that looks at less than everything.
  of(config, scope=''):: {
    local q = self,
    // Without the scope: the agents themselves have no owner and no path.
    local query = if scope == '' then q else $.of(config),
    local also(matchers) = if matchers == '' then '' else ', ' + matchers,

    // `keepwatch_sockets{cluster=~"$cluster", job=~"$job", instance=~"$instance", more}`.
    m(metric, more=''):
      '%s{%s=~"$cluster", job=~"$job", instance=~"$instance"%s%s}'
      % [metric, config.clusterLabel, also(scope), also(more)],
    // By the label `owner`: what has no workload is named after its container or process, on each node apart.
    sum(expr, by=[]):
      local of = if std.member(by, 'owner') then owner.named('owner', expr) else expr;
      'sum%s(%s)' % [if by == [] then '' else ' by (%s) ' % std.join(', ', by), of],

    sockets(matchers, by=[], before=''): q.sum(q.m('keepwatch_sockets', matchers) + before, by),
    trouble(matchers='', by=[]): q.sum(q.m('keepwatch_sockets_in_trouble', matchers), by),
    overdue(by=[]): q.trouble($.overdue, by),
    // A sum that has no series where there is nothing to sum up: 0 then, if there are agents to say so.
    orNone(expr): '%s or 0 * count(%s)' % [expr, query.m('keepwatch_build_info')],
    // How many in the time range; how many a second.
    happened(metric, matchers='', by=[]): q.sum('increase(%s[$__range])' % q.m(metric, matchers), by),
    rate(metric, matchers='', by=[]): q.sum('rate(%s[$__rate_interval])' % q.m(metric, matchers), by),
    // Where nothing is unprotected there is no such series, yet the share of the others is 1.
    safeShare(by=[]):
      '1 - (%s or 0 * %s) / %s' % [
        q.sockets($.unprotected, by),
        q.sockets($.judged, by),
        q.sockets($.judged, by),
      ],
    // Where nothing is protected there is no such series, yet the share is 0.
    protectedShare(by=[], before=''):
      '(%s or 0 * %s) / %s' % [
        q.sockets($.protected, by, before),
        q.sockets($.judged, by, before),
        q.sockets($.judged, by, before),
      ],
  },
}
