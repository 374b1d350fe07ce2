// Panels that several dashboards show, each of its own connections.
local color = import 'color.libsonnet';
local panel = import 'panel.libsonnet';
local query = import 'query.libsonnet';

{
  shares:: [[null, color.bad], [0.8, color.warning], [0.98, color.good]],

  of(q):: {
    unprotected: panel.stat(
      'How many are unprotected?',
      'Established outbound connections without keepalive, or with a first probe after the idle limit of their '
      + 'path.',
      q.sockets(query.unprotected),
      steps=panel.none,
    ),
    protectedShare: panel.stat(
      'Which share is protected?',
      'Of the established outbound connections whose peer is not on the same host.',
      q.protectedShare(),
      'percentunit',
      $.shares,
      decimals=1,
    ),
    quietPastLimit: panel.stat(
      'How many are probably dead?',
      'Unprotected outbound connections that have been quiet for longer than the idle limit of their path.',
      q.quietPastLimit(),
      steps=panel.none,
    ),
    probing: panel.stat(
      'How many wait for an answer?',
      'Established connections with unanswered keepalive probes: half-dead, or on a path that is dark now.',
      q.sum(q.m('keepwatch_sockets_probing')),
      steps=panel.none,
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
      'Established outbound connections by verdict. Protected: the first probe goes out before the idle limit. '
      + 'Late: after it. Off: never.',
      [[q.sockets(query.judged, ['verdict']), '{{verdict}}']],
      colors={ [verdict]: color.verdicts[verdict] for verdict in ['protected', 'late', 'off'] },
      stacked=true,
    ),
    deaths: panel.series(
      'What do connections die of?',
      'Deaths a minute by cause, without those that either side closed in order.',
      [['60 * ' + q.rate('keepwatch_deaths_total', query.unwanted, ['cause']), '{{cause}}']],
      'cpm',
      color.causes,
      stacked=true,
    ),
    // What a table says of whom it names.
    columns(by):: [
      panel.column('Unprotected', q.sockets(query.unprotected, by), steps=panel.none),
      panel.column('Off', q.sockets(query.off, by)),
      panel.column('Late', q.sockets(query.late, by)),
      panel.column('Protected share', q.protectedShare(by), 'percentunit', $.shares),
      panel.column('Quiet past limit', q.quietPastLimit(by), steps=panel.none),
      panel.column('Idle drops', q.happened('keepwatch_deaths_total', query.idleDrop, by), steps=panel.none),
    ],
  },
}
