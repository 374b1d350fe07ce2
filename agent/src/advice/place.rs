//! Where a process runs, and what can be set there for it: unit, pod, container, network namespace.

/// Where a process runs: its unit, pod, container and network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunsIn {
    /// The systemd unit of the process.
    pub unit: Option<String>,
    /// The Kubernetes pod of the process.
    pub pod: Option<String>,
    /// The container of the process.
    pub container: Option<String>,
    /// Its network namespace, if that is not the host's.
    pub foreign_netns: Option<ForeignNetns>,
}

/// A network namespace that is not the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForeignNetns {
    /// A process in it, if one lives: what `nsenter` enters it by.
    pub pid: Option<u32>,
}

impl RunsIn {
    /// Where the sysctls of keepalive are set for this process, and the lines; `reopen` is what to do then.
    pub(super) fn sysctls(&self, reopen: &str) -> (&'static str, String) {
        const SYSCTL: &str = "sysctl -w net.ipv4.tcp_keepalive_time={idle} \\\n  \
                              net.ipv4.tcp_keepalive_intvl={interval} \
                              net.ipv4.tcp_keepalive_probes={count}";
        match (&self.pod, &self.container, self.foreign_netns) {
            (Some(_), ..) => (
                "pod",
                "spec:   # safe sysctls since Kubernetes 1.29; the node's do not reach a pod\n  \
                 securityContext:\n    sysctls:\n    \
                 - {name: net.ipv4.tcp_keepalive_time, value: \"{idle}\"}\n    \
                 - {name: net.ipv4.tcp_keepalive_intvl, value: \"{interval}\"}\n    \
                 - {name: net.ipv4.tcp_keepalive_probes, value: \"{count}\"}"
                    .to_owned(),
            ),
            (None, Some(_), Some(_)) => (
                "container",
                "docker run --sysctl net.ipv4.tcp_keepalive_time={idle} \\\n  \
                 --sysctl net.ipv4.tcp_keepalive_intvl={interval} \\\n  \
                 --sysctl net.ipv4.tcp_keepalive_probes={count} ...\n\
                 # or in compose: sysctls: {net.ipv4.tcp_keepalive_time: {idle}, ...}"
                    .to_owned(),
            ),
            (None, _, Some(ForeignNetns { pid: Some(pid) })) => (
                "sysctl",
                format!(
                    "nsenter -t {pid} -n {SYSCTL}\n# it has a network namespace of its own{reopen}"
                ),
            ),
            (None, _, Some(ForeignNetns { pid: None })) => (
                "sysctl",
                format!("# in its network namespace, which is not the host's:\n{SYSCTL}{reopen}"),
            ),
            _ => {
                ("sysctl", format!("{SYSCTL}\n# to stay: the same lines in /etc/sysctl.d/{reopen}"))
            }
        }
    }

    /// The line that sets another sysctl where this process takes it from.
    pub(super) fn sysctl(&self, name: &str, value: &str) -> String {
        match (&self.pod, &self.container, self.foreign_netns) {
            (Some(_), ..) => format!(
                "spec:   # no safe sysctl: the kubelet must allow it (--allowed-unsafe-sysctls)\n  \
                 securityContext:\n    sysctls:\n    - {{name: {name}, value: \"{value}\"}}"
            ),
            (None, Some(_), Some(_)) => format!("docker run --sysctl {name}={value} ..."),
            (None, _, Some(ForeignNetns { pid: Some(pid) })) => {
                format!("nsenter -t {pid} -n sysctl -w {name}={value}")
            }
            _ => format!("sysctl -w {name}={value}   # to stay: the same line in /etc/sysctl.d/"),
        }
    }

    /// Debian's package libkeepalive0 puts the calls before those of a program that cannot be changed.
    pub(super) fn drop_in(&self) -> Option<String> {
        const LINE: &str = "[Service]   # systemctl edit UNIT; the library: libkeepalive\n\
            Environment=LD_PRELOAD=libkeepalive.so\n\
            Environment=KEEPIDLE={idle} KEEPINTVL={interval} KEEPCNT={count}";
        Some(LINE.replace("UNIT", self.unit.as_ref()?))
    }
}
