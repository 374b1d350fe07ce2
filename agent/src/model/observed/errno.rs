//! Error numbers that TCP gives (include/uapi/asm-generic/errno.h), and their names.

pub(in crate::model) const ENETDOWN: u16 = 100;
pub(in crate::model) const ENETUNREACH: u16 = 101;
pub(in crate::model) const ECONNABORTED: u16 = 103;
pub(in crate::model) const ECONNRESET: u16 = 104;
pub(in crate::model) const EPIPE: u16 = 32;
pub(in crate::model) const ETIMEDOUT: u16 = 110;
pub(crate) const ECONNREFUSED: u16 = 111;
pub(in crate::model) const EHOSTDOWN: u16 = 112;
pub(crate) const EHOSTUNREACH: u16 = 113;

/// The name of an error number, for those that TCP gives.
pub fn errno_name(errno: u16) -> String {
    let name = match errno {
        1 => "EPERM",
        9 => "EBADF",
        13 => "EACCES",
        14 => "EFAULT",
        22 => "EINVAL",
        EPIPE => "EPIPE",
        71 => "EPROTO",
        88 => "ENOTSOCK",
        92 => "ENOPROTOOPT",
        95 => "EOPNOTSUPP",
        ENETDOWN => "ENETDOWN",
        ENETUNREACH => "ENETUNREACH",
        102 => "ENETRESET",
        ECONNABORTED => "ECONNABORTED",
        ECONNRESET => "ECONNRESET",
        105 => "ENOBUFS",
        106 => "EISCONN",
        107 => "ENOTCONN",
        ETIMEDOUT => "ETIMEDOUT",
        ECONNREFUSED => "ECONNREFUSED",
        EHOSTDOWN => "EHOSTDOWN",
        EHOSTUNREACH => "EHOSTUNREACH",
        114 => "EALREADY",
        115 => "EINPROGRESS",
        _ => return format!("errno {errno}"),
    };
    name.to_owned()
}
