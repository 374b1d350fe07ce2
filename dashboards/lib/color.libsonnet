// One meaning, one colour, on every dashboard.
{
  good: '#56a64b',
  warning: '#f2a72e',
  bad: '#e0394b',
  quiet: '#7b8794',
  plain: '#4f86d9',

  verdicts: { protected: $.good, kept: '#2a9d8f', late: $.warning, off: $.bad, 'local': $.quiet },
  conditions: {
    stuck: $.bad,
    peer_silent: $.warning,
    overdue: '#b877d9',
    blocked: '#8ab8ff',
    unaccepted: '#3aa6b9',
    peer_closed: $.plain,
  },
  causes: {
    idle_drop: $.bad,
    keepalive_timeout: $.warning,
    keepalive_reset: '#f4d35e',
    user_timeout: '#b877d9',
    retransmit_timeout: '#8e5bd0',
    abandoned: '#ff7383',
    peer_reset: $.plain,
    unreachable: '#3aa6b9',
    connect_failed: '#8ab8ff',
    local_reset: '#5f9ea0',
    peer_closed: '#9aa5b1',
    local_closed: $.quiet,
    unknown: '#c0c8d0',
  },
}
