//! Idle limits of well-known devices and clouds, each with its source.

/// A named idle limit of something that stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// What to write in `--path` or the config.
    pub name: &'static str,
    /// Seconds of quiet after which it forgets a connection.
    pub seconds: u32,
    /// What it is, for the documentation.
    pub what: &'static str,
    /// It counts bytes, as a proxy does: probes bring none.
    pub counts_bytes: bool,
}

impl Preset {
    /// What it is, without where that stands.
    pub fn device(&self) -> &'static str {
        self.what.split([';', '(']).next().unwrap_or_default().trim_end()
    }
}

/// The presets, shortest limit first. Defaults of the vendors; verify yours.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "haproxy",
        seconds: 50,
        what: "HAProxy timeout client and timeout server as in Debian's haproxy.cfg (docs.haproxy.org, timeout client); a proxy: probes do not count",
        counts_bytes: true,
    },
    Preset {
        name: "aws-alb",
        seconds: 60,
        what: "AWS Application Load Balancer (docs.aws.amazon.com, application-load-balancers, connection idle timeout); a proxy: probes do not count",
        counts_bytes: true,
    },
    Preset {
        name: "azure",
        seconds: 240,
        what: "Azure Load Balancer, NAT Gateway and Firewall (learn.microsoft.com, load-balancer-tcp-idle-timeout)",
        counts_bytes: false,
    },
    Preset {
        name: "f5",
        seconds: 300,
        what: "F5 BIG-IP, TCP profile (clouddocs.f5.com, AS3 L4_Profile)",
        counts_bytes: false,
    },
    Preset {
        name: "aws",
        seconds: 350,
        what: "AWS NAT Gateway, NLB, Gateway LB, Network Firewall (docs.aws.amazon.com, update-idle-timeout)",
        counts_bytes: false,
    },
    Preset {
        name: "gcp",
        seconds: 600,
        what: "Google Cloud VPC firewall connection tracking (cloud.google.com, compute troubleshooting)",
        counts_bytes: false,
    },
    Preset {
        name: "nginx-stream",
        seconds: 600,
        what: "nginx stream proxy_timeout (ngx_stream_proxy_module); a proxy: probes do not count",
        counts_bytes: true,
    },
    Preset {
        name: "ipvs",
        seconds: 900,
        what: "Linux IPVS: kube-proxy in IPVS mode, Docker Swarm (net/netfilter/ipvs/ip_vs_proto_tcp.c)",
        counts_bytes: false,
    },
    Preset {
        name: "gcp-nat",
        seconds: 1200,
        what: "Google Cloud NAT, established connections (cloud.google.com, tune-nat-configuration)",
        counts_bytes: false,
    },
    Preset {
        name: "srx",
        seconds: 1800,
        what: "Juniper SRX (kb.juniper.net KB34994)",
        counts_bytes: false,
    },
    Preset {
        name: "envoy",
        seconds: 3600,
        what: "Envoy tcp_proxy idle_timeout (envoyproxy.io, tcp_proxy.proto); a proxy: probes do not count",
        counts_bytes: true,
    },
    Preset {
        name: "firewall-1h",
        seconds: 3600,
        what: "Cisco ASA, Palo Alto, FortiGate, Check Point (each vendor's session timeout)",
        counts_bytes: false,
    },
    Preset {
        name: "rfc5382",
        seconds: 7440,
        what: "the shortest limit that RFC 5382 REQ-5 allows a NAT",
        counts_bytes: false,
    },
];

#[test]
fn presets_are_sorted_and_unique() {
    for pair in PRESETS.windows(2) {
        assert!(pair[0].seconds <= pair[1].seconds && pair[0].name != pair[1].name);
    }
}

#[test]
fn whoever_counts_bytes_says_that_probes_do_not_count_and_nobody_else_does() {
    for preset in PRESETS {
        assert_eq!(
            preset.what.contains("probes do not count"),
            preset.counts_bytes,
            "{}",
            preset.name
        );
    }
}
