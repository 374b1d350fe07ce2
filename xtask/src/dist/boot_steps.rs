//! What is done with the package under systemd: each step is a script for `bash` in the guest; what it prints is shown.

/// One step, which fails with the first command of it that fails.
pub(super) struct BootStep {
    pub(super) what: &'static str,
    pub(super) script: &'static str,
}

const fn step(what: &'static str, script: &'static str) -> BootStep {
    BootStep { what, script }
}

/// What all of them may use. Emulated, an agent takes seconds to start.
pub(super) const PRELUDE: &str = r#"
export LC_ALL=C
until_so() {
    for second in $(seq 300); do if eval "$1"; then return 0; fi; sleep 1; done
    echo "not so within five minutes: $1"; return 1
}
# A failure of `! COMMAND` would end nothing.
not() { if eval "$1"; then echo "it should not be: $1"; return 1; fi; }
is() { systemctl show --value --property "$1" "${2-keepwatch}"; }
is_active() { systemctl is-active --quiet "${1-keepwatch}"; }
metrics() { curl --fail --silent --show-error --max-time 60 http://127.0.0.1:10077/metrics; }
shows() { metrics 2> /dev/null | grep -Eq "$1"; }
limit_is() { shows "^keepwatch_path_idle_limit_seconds\{[^}]*\} $1"; }
log() { journalctl --quiet --output cat --unit "${1-keepwatch}"; }
# What the system itself writes is left out: in /etc/passwd- and its like is what stood there before the last change of users.
files() {
    find / -xdev \( -path /trial -o -path /tmp -o -path /var/log -o -path /var/lib/dpkg -o -path /var/lib/systemd \
        -o -path '/etc/*-' -o -path /etc/.pwd.lock \) -prune \
        -o -type d -printf '%p %y %U:%G %m\n' -o -printf '%p %y %U:%G %m %s %l\n' | sort
}
"#;

/// All of them, in their order.
pub(super) const STEPS: [BootStep; 22] = [
    step(
        "systemd is process 1",
        r#"test "$(cat /proc/1/comm)" = systemd
until_so 'is_active multi-user.target'
echo "$(systemctl --version | head -n 1), Linux $(uname -r)"
files > /trial/before
for module in /trial/modules/*; do insmod "$module"; done"#,
    ),
    step(
        "dpkg -i: nothing starts by itself",
        r#"dpkg -i /trial/old.deb > /trial/log
not 'is_active'
test "$(is UnitFileState)" = disabled
test "$(dpkg-query -W -f '${Version}' keepwatch)" = 0.0.1
getent passwd keepwatch keepwatch-fix keepwatch-verify"#,
    ),
    step(
        "systemctl enable --now: active once it watches",
        r#"systemctl enable --now keepwatch
is_active
test "$(is Type) $(is NotifyAccess) $(is Result)" = "notify main success"
curl --fail --silent http://127.0.0.1:10077/-/ready
echo
is StatusText"#,
    ),
    step(
        "curl of /metrics",
        r#"metrics > /trial/metrics
grep -q '^keepwatch_build_info' /trial/metrics
test "$(grep -c '^keepwatch_hook_attached.* 1$' /trial/metrics)" -gt 5
echo "$(wc -l < /trial/metrics) lines""#,
    ),
    step(
        "keepwatch sockets, by the agent; keepwatch doctor",
        r#"keepwatch sockets --source agent --state listen --json > /trial/sockets
grep -q '"process":"keepwatch"' /trial/sockets
keepwatch doctor > /trial/doctor
not 'grep -i "fatal" /trial/doctor'"#,
    ),
    step(
        "it has a user of its own, no capability, and files that only it reads",
        r#"pid=$(is MainPID)
for thread in /proc/$pid/task/*/status; do
    test "$(awk '/^Uid:/ {print $2, $3, $4, $5}' "$thread" | tr ' ' '\n' | sort -u)" = "$(id -u keepwatch)"
    test "$(awk '/^Cap(Inh|Prm|Eff|Amb):/ {print $2}' "$thread" | sort -u)" = 0000000000000000
    test "$(awk '/^(NoNewPrivs|Seccomp):/ {print $2}' "$thread" | tr -d '\n')" = 12
done
test "$(stat -c '%U %a' /run/keepwatch)" = "keepwatch 755"
test "$(stat -c '%U:%G %a' /run/keepwatch/keepwatch.sock)" = "keepwatch:keepwatch 660"
test "$(stat -c '%U %a' /var/lib/keepwatch)" = "keepwatch 750"
test "$(stat -c '%U %a' /var/lib/keepwatch/history.db)" = "keepwatch 600""#,
    ),
    step(
        "its memory is bounded",
        r#"group=/sys/fs/cgroup$(is ControlGroup)
test "$(cat "$group/memory.max") $(cat "$group/memory.high")" = "536870912 402653184"
test "$(cat "$group/memory.current")" -lt 402653184
echo "$(($(cat "$group/memory.current") >> 20)) MiB of 512, $(cat "$group/pids.current") of $(cat "$group/pids.max") threads""#,
    ),
    step(
        "systemctl reload: another idle limit holds, in the same process",
        r#"pid=$(is MainPID)
limit_is 350
echo 'idle_limit = "azure"' >> /etc/keepwatch/config.toml
systemctl reload keepwatch
until_so 'limit_is 240'
until_so "log | grep -q 'configuration reloaded.*config=/etc/keepwatch/config.toml'"
test "$(is MainPID)" = "$pid""#,
    ),
    step(
        "a bad config is refused at reload, and the old one holds",
        r#"pid=$(is MainPID)
cp /etc/keepwatch/config.toml /trial/config.toml
echo 'idle_limt = "aws"' >> /etc/keepwatch/config.toml
not 'systemctl reload keepwatch 2> /trial/log'
is_active
log | grep -m 1 'config.toml:[0-9]*: unknown key .idle_limt.; did you mean .idle_limit'
kill -HUP "$pid"
until_so "shows '^keepwatch_config_last_reload_successful.file=.config.. 0'"
limit_is 240
test "$(is MainPID)" = "$pid"
cp /trial/config.toml /etc/keepwatch/config.toml
systemctl reload keepwatch
until_so "shows '^keepwatch_config_last_reload_successful.file=.config.. 1'""#,
    ),
    step(
        "a bad config at the start: it ends once, says why, and is not started again",
        r#"cp /etc/keepwatch/config.toml /trial/config.toml
echo 'idle_limt = "azure"' >> /etc/keepwatch/config.toml
not 'systemctl restart keepwatch 2> /trial/log'
test "$(is ActiveState) $(is SubState) $(is Result) $(is ExecMainStatus)" = "failed failed exit-code 2"
test "$(is NRestarts)" = 0
run=$(is InvocationID)
until_so 'journalctl --quiet --output cat "_SYSTEMD_INVOCATION_ID=$run" | grep -m 1 "config.toml:[0-9]*: unknown key .idle_limt"'
cp /trial/config.toml /etc/keepwatch/config.toml
systemctl start keepwatch
is_active"#,
    ),
    step(
        "kill -9: it is started anew, with the same history",
        r#"history=$(stat -c %i /var/lib/keepwatch/history.db)
kill -KILL "$(is MainPID)"
until_so 'test "$(is NRestarts)" = 1 && is_active'
test "$(stat -c %i /var/lib/keepwatch/history.db)" = "$history""#,
    ),
    step(
        "the watchdog: an agent that stands still is ended and started anew",
        r#"test "$(is WatchdogUSec)" = 2min
mkdir /run/systemd/system/keepwatch.service.d
printf '[Service]\nWatchdogSec=30s\n' > /run/systemd/system/keepwatch.service.d/trial.conf
systemctl daemon-reload
systemctl restart keepwatch
pid=$(is MainPID)
sleep 35
test "$(is MainPID)" = "$pid"
kill -STOP "$pid"
until_so 'test "$(is NRestarts)" = 1 && is_active'
log | grep -m 1 'Watchdog timeout'
rm -r /run/systemd/system/keepwatch.service.d
systemctl daemon-reload
systemctl restart keepwatch"#,
    ),
    step(
        "out of memory by its own bound: it alone is ended, and started anew once there is room",
        r#"systemctl set-property --runtime keepwatch MemoryHigh=infinity MemoryMax=6M
until_so 'log | grep -q "oom-kill"'
systemctl set-property --runtime keepwatch MemoryHigh=384M MemoryMax=512M
systemctl reset-failed keepwatch
systemctl restart keepwatch
is_active
rm -rf /run/systemd/system.control/keepwatch.service.d
systemctl daemon-reload"#,
    ),
    step(
        "keepwatch-fix: keepalive for a connection of another program",
        r"ip netns add peer
ip link add near type veth peer name far netns peer
ip address add 10.9.0.1/24 dev near
ip link set near up
ip -netns peer address add 10.9.0.2/24 dev far
ip -netns peer link set far up
systemd-run --quiet --unit server ip netns exec peer nc -l -k 10.9.0.2 7777
until_so 'ip netns exec peer ss -Htln | grep -q :7777'
systemd-run --quiet --unit client sh -c 'sleep 10000 | nc 10.9.0.2 7777'
until_so 'ss -Htn dst 10.9.0.2 | grep -q ESTAB'
not 'ss -Htno dst 10.9.0.2 | grep -q keepalive'
systemctl start keepwatch-fix
until_so 'ss -Htno dst 10.9.0.2 | grep -q keepalive'
is_active keepwatch-fix
ss -Htno dst 10.9.0.2 | grep -o 'timer:.*'",
    ),
    step(
        "keepwatch-fix has a user of its own, which may trace; the agent's may not signal it, nor reach its journal",
        r#"fix=$(is MainPID keepwatch-fix) agent=$(is MainPID)
test "$(awk '/^Uid:/ {print $2}' "/proc/$fix/status")" = "$(id -u keepwatch-fix)"
test "$(awk '/^CapEff:/ {print $2}' "/proc/$fix/status")" = 0000000000080000
test "$(stat -c '%U %a' /var/lib/keepwatch-fix)" = "keepwatch-fix 700"
test -s /var/lib/keepwatch-fix/fix.jsonl
as_agent() { setpriv --reuid keepwatch --regid keepwatch --clear-groups sh -c "$1"; }
as_agent "kill -0 $agent"
not 'as_agent "kill -0 $fix" 2> /dev/null'
as_agent 'cat /var/lib/keepwatch/history.db > /dev/null'
not 'as_agent "cat /var/lib/keepwatch-fix/fix.jsonl" 2> /dev/null'
as_agent 'keepwatch sockets --source agent > /dev/null'
not 'setpriv --reuid nobody --regid nogroup --clear-groups keepwatch sockets --source agent > /trial/log 2>&1'"#,
    ),
    step(
        "keepwatch-verify.timer: rows are compared again and again, and everybody may read the result",
        r#"file=/run/keepwatch-verify/verify.prom
mkdir -p /run/systemd/system/keepwatch-verify.timer.d
printf '[Timer]\nOnActiveSec=\nOnActiveSec=1s\nOnUnitActiveSec=5s\nRandomizedDelaySec=0\nAccuracySec=1s\n' > /run/systemd/system/keepwatch-verify.timer.d/trial.conf
systemctl daemon-reload
systemctl enable --now keepwatch-verify.timer
until_so 'test -s $file'
setpriv --reuid nobody --regid nogroup --clear-groups cat $file > /trial/verify
grep '^keepwatch_verified_sockets{result="agree"} [1-9]' /trial/verify
grep -q '^keepwatch_verified_sockets{result="differ"} 0' /trial/verify
grep '^keepwatch_verified_timestamp_seconds' /trial/verify > /trial/time
until_so 'not "grep -qFf /trial/time $file" > /dev/null'
test "$(is Result keepwatch-verify)" = success
rm -r /run/systemd/system/keepwatch-verify.timer.d
systemctl daemon-reload
systemctl restart keepwatch-verify.timer"#,
    ),
    step(
        "socket activation: the first scrape starts it, and no scrape is refused at a restart",
        r"systemctl stop keepwatch
not 'is_active keepwatch-fix'
printf '[Socket]\nListenStream=127.0.0.1:10077\nFileDescriptorName=metrics\n[Install]\nWantedBy=sockets.target\n' > /etc/systemd/system/keepwatch.socket
systemctl daemon-reload
systemctl start keepwatch.socket
not 'is_active'
metrics > /dev/null
is_active
(for n in $(seq 20); do metrics > /dev/null 2>> /trial/refused; done) & scrapes=$!
systemctl restart keepwatch
wait $scrapes
not 'grep . /trial/refused'
systemctl stop keepwatch.socket keepwatch
rm /etc/systemd/system/keepwatch.socket
systemctl daemon-reload
systemctl start keepwatch keepwatch-fix",
    ),
    step(
        "upgrade: what runs goes on as the new version, with config, history and journal",
        r#"pid=$(is MainPID) fix=$(is MainPID keepwatch-fix)
history=$(stat -c %i /var/lib/keepwatch/history.db)
test -s /var/lib/keepwatch-fix/fix.jsonl
dpkg --force-confold -i /trial/new.deb > /trial/log
is_active
until_so 'is_active keepwatch-fix'
test "$(is MainPID)" != "$pid"
test "$(is MainPID keepwatch-fix)" != "$fix"
is_active keepwatch-verify.timer
test "$(is UnitFileState)" = enabled
test "$(stat -c %i /var/lib/keepwatch/history.db)" = "$history"
test -s /var/lib/keepwatch-fix/fix.jsonl
test -e /etc/keepwatch/config.toml.dpkg-dist
until_so 'limit_is 240'
test -z "$(dpkg --verify keepwatch | grep -v config.toml)""#,
    ),
    step(
        "systemctl stop: in order, and nothing of it runs",
        r#"systemctl stop keepwatch
test "$(is Result) $(is ActiveState) $(is ActiveState keepwatch-fix)" = "success inactive inactive"
test ! -e /run/keepwatch
not 'systemctl start keepwatch-verify 2> /dev/null'
not 'is_active'
not 'pgrep keepwatch'
systemctl start keepwatch keepwatch-fix
systemctl start keepwatch-verify"#,
    ),
    step(
        "dpkg -r: ended and disabled; config and history stay",
        r"dpkg -r keepwatch > /trial/log
not 'pgrep keepwatch'
not 'is_active'
not 'is_active keepwatch-fix'
not 'is_active keepwatch-verify.timer'
test ! -e /run/keepwatch-verify
test ! -e /etc/systemd/system/multi-user.target.wants/keepwatch.service
test ! -e /etc/systemd/system/timers.target.wants/keepwatch-verify.timer
test -e /etc/keepwatch/config.toml
test -s /var/lib/keepwatch/history.db",
    ),
    step(
        "install again, start, purge while it runs",
        r#"dpkg --force-confold -i /trial/new.deb > /trial/log
systemctl start keepwatch
until_so 'limit_is 240'
dpkg -P keepwatch > /trial/log
not 'pgrep keepwatch'
test "$(is LoadState)" = not-found
systemctl reset-failed"#,
    ),
    step(
        "nothing is left",
        r#"systemctl stop client server
ip netns delete peer
files > /trial/after
diff /trial/before /trial/after
test -z "$(ls -d /run/keepwatch* /run/systemd/system/keepwatch* /run/systemd/system.control/keepwatch* 2> /dev/null)"
not 'getent passwd | grep keepwatch'
not 'getent group | grep keepwatch'
test -z "$(systemctl list-unit-files --no-legend 'keepwatch*')"
echo "$(wc -l < /trial/after) files, as before""#,
    ),
];
