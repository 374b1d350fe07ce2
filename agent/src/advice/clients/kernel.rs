//! Connections of the kernel itself, and of programs that hand theirs to it: mounts and block devices.

use super::{
    Client,
    Clue::{Kernel, Name, Port},
    How, ROW, on,
};

pub(super) const CLIENTS: &[Client] = &[
    Client {
        name: "an NFS mount",
        versions: "3 and 4",
        default: on(60, 60, 3),
        how: How::Line(
            "mount -o timeo={tenths},retrans={retrans} ...   (NFSv3; tenths of a second; unmount first)\n\
             # NFSv4 takes the lease of the server instead: lease-time={idle} below [nfsd] in its /etc/nfs.conf",
        ),
        clues: &[
            &[Kernel, Port(2049)],
            &[Name("mount.nfs"), Port(2049)],
            &[Name("mount.nfs4"), Port(2049)],
        ],
        source: "seen 6.12 in a guest; source linux net/sunrpc/xprtsock.c, xs_tcp_set_socket_timeouts; nfs(5), nfs.conf(5)",
        ..ROW
    },
    Client {
        name: "an SMB mount (cifs)",
        versions: "3",
        how: How::None,
        ping: Some(
            "mount -o echo_interval={idle} ...   (SMB pings, 60 s if it is not given; unmount first)",
        ),
        clues: &[
            &[Kernel, Port(445)],
            &[Name("mount.cifs"), Port(445)],
            &[Name("mount.smb3"), Port(445)],
        ],
        source: "seen 6.12 in a guest; mount.cifs(8), echo_interval",
        ..ROW
    },
    Client {
        name: "iSCSI",
        versions: "open-iscsi 2",
        how: How::None,
        ping: Some(
            "node.conn[0].timeo.noop_out_interval = {idle}   (iscsid.conf, 5 s if it is not given)\n\
             # for targets that are known: iscsiadm -m node -o update -n node.conn[0].timeo.noop_out_interval -v {idle}",
        ),
        clues: &[&[Name("iscsid")], &[Kernel, Port(3260)]],
        source: "source open-iscsi etc/iscsid.conf",
        ..ROW
    },
    Client {
        name: "NVMe over TCP",
        versions: "nvme-cli 1 and 2",
        how: How::None,
        ping: Some(
            "nvme connect --keep-alive-tmo={idle} ...   (NVMe pings, 5 s if it is not given)",
        ),
        clues: &[&[Kernel, Port(4420)], &[Kernel, Port(8009)]],
        source: "nvme-connect(1)",
        ..ROW
    },
    Client {
        name: "DRBD",
        versions: "8.4 and 9",
        how: How::None,
        ping: Some("net { ping-int {idle}; }   (DRBD pings, 10 s if it is not given)"),
        clues: &[&[Kernel, Port(7788)], &[Kernel, Port(7789)]],
        source: "drbd.conf(5), ping-int",
        ..ROW
    },
];
