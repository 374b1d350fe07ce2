// Panels that several dashboards show, each of its own connections.
local color = import 'color.libsonnet';
local panel = import 'panel.libsonnet';
local query = import 'query.libsonnet';

{
  shares:: [[null, color.bad], [0.8, color.warning], [0.98, color.good]],

  of(q):: {
    safeShare: panel.stat(
      'Which share is protected or kept?',
      'Of the established outbound connections whose peer is not on the same host: those that keepalive protects, '
      + 'and those that the peer\'s probes or traffic kept so far.',
      q.safeShare(),
      'percentunit',
      $.shares,
      decimals=1,
    ),
    stuck: panel.stat(
      'How many are stuck?',
      'Connections that repeat data, or the end of their stream, and get no answer: their programs hang now.',
      q.orNone(q.trouble('condition="stuck"')),
      steps=panel.none,
    ),
    peerSilent: panel.stat(
      'How many have a silent peer?',
      'Connections with two or more unanswered keepalive probes in a row: the peer is gone, or the path is dark.',
      q.orNone(q.trouble('condition="peer_silent"')),
      steps=panel.none,
    ),
    overdue: panel.stat(
      'How many are overdue?',
      'Outbound connections that nothing protects or keeps, and that have been quiet for longer than the idle limit '
      + 'of their path: probably forgotten already.',
      q.orNone(q.overdue()),
      steps=panel.none,
    ),
    conditions: panel.series(
      'What is the matter right now?',
      'Connections in trouble by condition. Stuck: data gets no answer. Peer silent: probes get none. Overdue: quiet '
      + 'past the limit, and nothing protects it. Peer closed: only the program has not closed it. Unaccepted: it '
      + 'waits in an accept queue.',
      [[q.trouble('', ['condition']), '{{condition}}']],
      colors=color.conditions,
      stacked=true,
    ),
    // Whose connections are in trouble: one row for each condition of an owner.
    inTrouble(by, links={}, hidden=[]): panel.table(
      'Who is in trouble right now?',
      'Connections in trouble by owner and condition, the most first. `keepwatch sockets --condition stuck` names '
      + 'them one by one.',
      by + ['condition'],
      [panel.column('Connections', q.trouble('', by + ['condition']), steps=panel.none)],
      links,
      limit=20,
      hidden=hidden,
    ),
    idleDrops: panel.stat(
      'How many died of an idle drop?',
      'In the time range: the first data after a quiet time met silence or a reset.',
      q.happened('keepwatch_deaths_total', query.idleDrop),
      steps=panel.none,
      decimals=0,
    ),
    byVerdict: panel.series(
      'Is protection getting better?',
      'Established outbound connections by verdict. Protected: its probes always come before the idle limit. Kept: '
      + "they do not, but something else (the peer's probes, traffic) keeps it so far. Late: a probe may come after "
      + 'the limit. Off: no probe comes.',
      [[q.sockets(query.judged, ['verdict']), '{{verdict}}']],
      colors={ [verdict]: color.verdicts[verdict] for verdict in ['protected', 'kept', 'late', 'off'] },
      stacked=true,
    ),
    deaths: panel.series(
      'What do connections die of?',
      'Deaths a minute by cause, without those that either side closed in order. Abandoned: this host gave up '
      + 'waiting, and what it had sent was never answered.',
      [['60 * ' + q.rate('keepwatch_deaths_total', query.unwanted, ['cause']), '{{cause}}']],
      panel.perMinute,
      color.causes,
      stacked=true,
    ),
    // What a table says of whom it names.
    columns(by):: [
      panel.column('Unprotected', q.sockets(query.unprotected, by), steps=panel.none),
      panel.column('Off', q.sockets(query.off, by)),
      panel.column('Late', q.sockets(query.late, by)),
      panel.column('Kept', q.sockets(query.kept, by)),
      panel.column('Protected or kept', q.safeShare(by), 'percentunit', $.shares),
      panel.column('Overdue', q.overdue(by), steps=panel.none),
      panel.column('Idle drops', q.happened('keepwatch_deaths_total', query.idleDrop, by), steps=panel.none),
    ],
  },
}
