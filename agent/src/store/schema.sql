-- The history of a keepwatch agent. Documented in docs/HISTORY.md, which is made from this file.
-- Times that end in _ns are nanoseconds: since 1970 in UTC, or of CLOCK_MONOTONIC (monotonic_ns), which
-- does not jump but begins anew with each boot. Booleans are 0 and 1. What is not known is NULL.
-- Addresses stand twice: as text to read, and in remote_key as 16 bytes (IPv4 as IPv4-mapped IPv6) to
-- look up networks.

-- Every start of an agent. A socket id is unique within one boot only.
CREATE TABLE runs (
  id INTEGER PRIMARY KEY,
  boot TEXT NOT NULL,                -- /proc/sys/kernel/random/boot_id
  version TEXT NOT NULL,             -- of keepwatch
  pid INTEGER NOT NULL,              -- of the agent
  at_ns INTEGER NOT NULL,            -- its start
  monotonic_ns INTEGER NOT NULL
) STRICT;

-- What processes are part of. The same row stands for all processes of one name there.
CREATE TABLE owners (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,          -- all columns below
  party TEXT NOT NULL,               -- whom its records count for: container, else pod, unit or process
  process TEXT,
  unit TEXT,                         -- systemd unit
  container TEXT,                    -- its name, else the first digits of its id
  container_id TEXT,
  namespace TEXT,                    -- of Kubernetes
  workload TEXT,
  pod TEXT
) STRICT;

-- Every end of a connection, except ordinary ends of short connections (see docs/HISTORY.md).
CREATE TABLE deaths (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL,
  at_ns INTEGER NOT NULL,
  monotonic_ns INTEGER NOT NULL,
  socket TEXT NOT NULL,              -- the socket cookie as `ss -e` writes it: sk:1f
  netns INTEGER NOT NULL,            -- inode number of its network namespace
  local_addr TEXT NOT NULL,
  local_port INTEGER NOT NULL,
  remote_addr TEXT NOT NULL,
  remote_port INTEGER NOT NULL,
  remote_key BLOB NOT NULL,
  direction TEXT NOT NULL,           -- outbound, inbound
  state TEXT NOT NULL,               -- the TCP state before the end
  pid INTEGER,
  owner INTEGER,                     -- whose it was: a row of owners
  worth INTEGER NOT NULL,            -- 0: it died of silence; 2: ordinary. What is worth least goes first
  cause TEXT NOT NULL,               -- idle_drop, keepalive_timeout, ...: see docs/COMMANDS.md
  certainty TEXT NOT NULL,           -- exact, inferred
  evidence TEXT NOT NULL,            -- what says so, in words
  others_answered INTEGER,           -- other connections to the same peer that were answered at that time
  others_silent INTEGER,             -- others to the same peer that had not been quiet, and got no answer any more either
  without_data_ms INTEGER,           -- since data was sent or received last: probes carry none
  forgotten INTEGER NOT NULL,        -- a path that forgot it explains that best
  closed_after_ms INTEGER,            -- abandoned: the silence after which this host closed it; NULL: not known
  given_up_ms INTEGER,               -- since this host closed it while its last data, or probes, were unanswered; NULL: it did not
  unsent_ms INTEGER,                 -- for how long this host could not send what was never answered; NULL: it was sent
  peer_spoke_last INTEGER NOT NULL,  -- abandoned: the peer had spoken last, and only the FIN went unanswered
  heard_ms INTEGER,                  -- data was never taken, and the peer was heard this long before the end, or the close; NULL: it was not
  unreplied_ms INTEGER,              -- closed by this host: since its last data, if the peer acknowledged that and sent none since
  errno TEXT,                        -- the error that the application got
  gap_ms INTEGER,                    -- the longest time without a packet that its own probes allowed; NULL while keepalive is off
  gap_from TEXT,                     -- what made it as long as that: idle, interval, armed_timer, window_probe
  verdict TEXT NOT NULL,             -- at the end: off, late, kept, protected, local
  idle_limit_seconds INTEGER NOT NULL,
  idle_kept_seconds INTEGER NOT NULL, -- the quiet time that the path keeps for sure
  idle_limit_from TEXT NOT NULL,     -- default, learned, or configured or preset NAME, with `by flag` and the like
  path TEXT,                         -- the name of the configured path
  made_by TEXT NOT NULL,             -- what made the socket: program, mptcp, kernel
  keepalive INTEGER NOT NULL,        -- SO_KEEPALIVE
  idle_seconds INTEGER NOT NULL,     -- the effective settings, and where they were from: socket, netns
  idle_from TEXT NOT NULL,
  interval_seconds INTEGER NOT NULL,
  interval_from TEXT NOT NULL,
  count_probes INTEGER NOT NULL,
  count_from TEXT NOT NULL,
  user_timeout_ms INTEGER NOT NULL,  -- 0: unset
  detection_seconds INTEGER,         -- silence until the kernel gives up; NULL while keepalive is off
  in_flight_detection_seconds INTEGER NOT NULL, -- the same while data is in flight: the user timeout, else about tcp_retries2
  opened_at_ns INTEGER,              -- NULL: older than the agent
  age_ms INTEGER,
  quiet_ms INTEGER NOT NULL,         -- before the last data was sent; before the end if none was in flight
  silent_ms INTEGER NOT NULL,        -- since a packet was received
  survived_ms INTEGER NOT NULL,      -- the longest quiet time that it survived before
  watched_ms INTEGER NOT NULL,       -- for how long it was looked at
  peer_probes INTEGER NOT NULL,      -- keepalive probes of the peer came in
  probes_sent INTEGER NOT NULL,
  probes_unanswered INTEGER NOT NULL,
  retransmits INTEGER NOT NULL,      -- repetitions in a row that went unanswered
  in_flight INTEGER NOT NULL,
  clues TEXT                         -- of one that was quiet: what its process showed of itself, as JSON
) STRICT;
-- A query reads these first, and of the table only the rows that it gives.
CREATE INDEX deaths_by_time ON deaths (at_ns, worth, remote_key, remote_port, local_port);
CREATE INDEX deaths_by_peer ON deaths (remote_key, at_ns, worth, remote_port, local_port);
CREATE INDEX deaths_by_owner ON deaths (owner, at_ns, worth);
CREATE INDEX deaths_by_pid ON deaths (pid, at_ns) WHERE pid IS NOT NULL;
CREATE INDEX deaths_by_socket ON deaths (socket);

-- setsockopt calls: all that were refused, all that another process than the owner made, all of connections that died, and those of
-- connections that have lived for a minute, or lived when the agent ended.
CREATE TABLE calls (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL,
  at_ns INTEGER NOT NULL,
  monotonic_ns INTEGER NOT NULL,
  socket TEXT,                       -- NULL: it had no cookie yet, and no hook saw it connect
  netns INTEGER NOT NULL,
  local_addr TEXT NOT NULL,
  local_port INTEGER NOT NULL,
  remote_addr TEXT NOT NULL,
  remote_port INTEGER NOT NULL,      -- 0: not connected
  remote_key BLOB NOT NULL,
  death INTEGER,                     -- the end of its connection, with which it goes; NULL while it lives
  pid INTEGER,                       -- who called
  owner INTEGER,
  option TEXT NOT NULL,              -- SO_KEEPALIVE, TCP_KEEPIDLE, ...
  value INTEGER,                     -- what was asked for
  result TEXT NOT NULL,              -- ok, or the error's name
  "when" TEXT NOT NULL,              -- before_connect, after_connect, listener
  UNIQUE (run, monotonic_ns, option)
) STRICT;
CREATE INDEX calls_by_time ON calls (at_ns);
CREATE INDEX calls_by_socket ON calls (socket);
CREATE INDEX calls_by_death ON calls (death);

-- A setting changed, and with it the verdict on a connection.
CREATE TABLE verdict_changes (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL,
  at_ns INTEGER NOT NULL,
  monotonic_ns INTEGER NOT NULL,
  socket TEXT NOT NULL,
  netns INTEGER NOT NULL,
  local_addr TEXT NOT NULL,
  local_port INTEGER NOT NULL,
  remote_addr TEXT NOT NULL,
  remote_port INTEGER NOT NULL,
  remote_key BLOB NOT NULL,
  pid INTEGER,
  owner INTEGER,
  verdict_before TEXT NOT NULL,
  verdict TEXT NOT NULL,
  meaning TEXT NOT NULL              -- why, in words
) STRICT;
CREATE INDEX verdict_changes_by_time ON verdict_changes (at_ns);

-- Long quiet times after which a connection went on: one row a connection.
CREATE TABLE survivals (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL,
  at_ns INTEGER NOT NULL,            -- the last time
  monotonic_ns INTEGER NOT NULL,
  socket TEXT NOT NULL,
  netns INTEGER NOT NULL,
  local_addr TEXT NOT NULL,
  local_port INTEGER NOT NULL,
  remote_addr TEXT NOT NULL,
  remote_port INTEGER NOT NULL,
  remote_key BLOB NOT NULL,
  pid INTEGER,
  owner INTEGER,
  times INTEGER NOT NULL,            -- how often
  longest_ms INTEGER NOT NULL,
  last_ms INTEGER NOT NULL,
  UNIQUE (run, socket)
) STRICT;
CREATE INDEX survivals_by_time ON survivals (at_ns);

-- Data that had gone unanswered for 5 s or longer, and was answered after all.
CREATE TABLE late_answers (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL,
  at_ns INTEGER NOT NULL,            -- when it had been answered, at the latest
  monotonic_ns INTEGER NOT NULL,
  socket TEXT NOT NULL,
  netns INTEGER NOT NULL,
  local_addr TEXT NOT NULL,
  local_port INTEGER NOT NULL,
  remote_addr TEXT NOT NULL,
  remote_port INTEGER NOT NULL,
  remote_key BLOB NOT NULL,
  pid INTEGER,
  owner INTEGER,
  unanswered_ms INTEGER NOT NULL     -- since the first of the data was sent
) STRICT;
CREATE INDEX late_answers_by_time ON late_answers (at_ns);

-- Connections that this host closed while the peer owed an answer, and whose they were: the next agent finds them without a process.
CREATE TABLE orphans (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL,
  at_ns INTEGER NOT NULL,            -- when this host closed it
  monotonic_ns INTEGER NOT NULL,
  socket TEXT,
  netns INTEGER NOT NULL,
  local_addr TEXT NOT NULL,
  local_port INTEGER NOT NULL,
  remote_addr TEXT NOT NULL,
  remote_port INTEGER NOT NULL,
  remote_key BLOB NOT NULL,
  pid INTEGER,
  owner INTEGER,
  comm BLOB NOT NULL                 -- the process's name as the kernel has it: 16 bytes
) STRICT;
CREATE INDEX orphans_by_time ON orphans (at_ns);

-- What the agent learns from: of each peer the latest quiet times that ended connections, and of each day the longest
-- that was survived.
CREATE TABLE evidence (
  peer TEXT NOT NULL,                -- an address, with the port of a service that we connected to
  netns INTEGER,                     -- network namespace; NULL: the agent's own
  run INTEGER NOT NULL,              -- the agent that wrote it
  kind TEXT NOT NULL,                -- killed, singled_out (others were answered), silenced (probes met silence), outage,
                                     -- peer_closed, peer_reset, survived
  began_ns INTEGER NOT NULL,         -- the quiet time, from
  ended_ns INTEGER NOT NULL,         -- to
  times INTEGER NOT NULL             -- of survived: how many that day; of peer_closed and peer_reset: how many in that minute
) STRICT;
CREATE INDEX evidence_by_peer ON evidence (peer);

-- Moments at which connections with several peers were lost at once.
CREATE TABLE mass_endings (
  netns INTEGER,
  run INTEGER NOT NULL,
  at_ns INTEGER NOT NULL,
  connections INTEGER NOT NULL,
  peers TEXT NOT NULL,               -- some of their addresses, with a space between
  processes TEXT NOT NULL            -- some of their processes, one a line
) STRICT;

-- What was learned: idle limits of paths, timers of peers, clean-ups by the clock.
CREATE TABLE learned (
  kind TEXT NOT NULL,                -- path_limit, peer_closes, clean_up
  destination TEXT,                  -- an address, or an address and a port; NULL of a clean-up
  meaning TEXT NOT NULL,             -- all of it, in one sentence
  facts TEXT NOT NULL                -- JSON, as /v1/limits gives it: confidence, seconds, occasions ...
) STRICT;

-- What is not in the history, by the minute in which it happened.
CREATE TABLE not_kept (
  minute_ns INTEGER NOT NULL,        -- its beginning
  worth INTEGER NOT NULL,            -- as of deaths; 1: refused calls, verdict changes, survived quiet times, late answers, orphans
  reason TEXT NOT NULL,              -- budget, queue, disk, size, kernel: see docs/HISTORY.md
  n INTEGER NOT NULL,
  PRIMARY KEY (minute_ns, worth, reason)
) STRICT, WITHOUT ROWID;

-- One row: the latest time that was trusted, so that a clock that jumps does not empty the history.
CREATE TABLE clock (
  id INTEGER PRIMARY KEY CHECK (id = 0),
  seen_ns INTEGER NOT NULL
) STRICT;

-- The deaths with times to read.
CREATE VIEW recent_deaths AS
SELECT strftime('%Y-%m-%d %H:%M:%S', at_ns / 1000000000, 'unixepoch') AS at_utc, socket, owners.process, pid,
  coalesce(owners.workload, owners.unit) AS workload, local_addr || ' ' || local_port AS local,
  remote_addr || ' ' || remote_port AS remote, cause, verdict, quiet_ms / 1000.0 AS quiet_seconds,
  evidence
FROM deaths LEFT JOIN owners ON owners.id = deaths.owner ORDER BY at_ns DESC;
