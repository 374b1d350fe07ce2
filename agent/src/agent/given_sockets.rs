//! Sockets that systemd, or what does as it does, opened before it started the agent (sd_listen_fds(3)): a port below 1024
//! without the right to it, no moment without a listener at a restart, an API socket of any owner.

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use std::{
    env, io,
    net::TcpListener,
    os::{fd::AsFd, unix::net::UnixListener},
};

/// A socket that was passed and is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It is not what it should be.
    #[error(
        "socket {number} of LISTEN_FDS{}: {cause}; keepwatch takes a listening TCP socket for the metrics \
         (FileDescriptorName=metrics) and a listening unix stream socket for the API (FileDescriptorName=api)",
        called(name)
    )]
    Kind {
        /// Its place, from 1.
        number: usize,
        /// Its name in LISTEN_FDNAMES.
        name: String,
        /// What is wrong with it.
        cause: io::Error,
    },
    /// There is one already.
    #[error(
        "socket {number} of LISTEN_FDS{} is a second one for the {role}: pass one",
        called(name)
    )]
    Second {
        /// Its place, from 1.
        number: usize,
        /// Its name in LISTEN_FDNAMES.
        name: String,
        /// What both are for.
        role: &'static str,
    },
}

fn called(name: &str) -> String {
    let name = crate::model::text::sanitize::escaped(name.as_bytes());
    if name.is_empty() { name } else { format!(" ({name})") }
}

/// What was passed.
#[derive(Debug, Default)]
pub(super) struct GivenSockets {
    pub(super) metrics: Option<TcpListener>,
    pub(super) api: Option<UnixListener>,
}

impl GivenSockets {
    /// Takes them; once in the life of a process, for then they are taken.
    pub(super) fn take() -> Result<Self, Error> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self::of(ListenFd::from_env(), &names)
    }

    fn of(mut sockets: ListenFd, names: &str) -> Result<Self, Error> {
        let mut names = names.split(':');
        let mut given = Self::default();
        for place in 0..sockets.len() {
            let name = names.next().unwrap_or_default();
            let (number, name_of) = (place + 1, || name.to_owned());
            let second = |role| Error::Second { number, name: name_of(), role };
            let wrong = |cause| Error::Kind { number, name: name_of(), cause };
            // By its name; with another name, by what it is.
            let tcp = match name {
                "api" => None,
                "metrics" => sockets.take_tcp_listener(place).map_err(wrong)?,
                _ => sockets.take_tcp_listener(place).unwrap_or_default(),
            };
            if let Some(socket) = tcp {
                let before = given.metrics.replace(listening(socket).map_err(wrong)?);
                before.map_or(Ok(()), |_| Err(second("metrics")))?;
            } else if let Some(socket) = sockets.take_unix_listener(place).map_err(wrong)? {
                let before = given.api.replace(listening(socket).map_err(wrong)?);
                before.map_or(Ok(()), |_| Err(second("API")))?;
            }
        }
        Ok(given)
    }
}

/// With `Accept=yes` systemd passes connections.
fn listening<S: AsFd>(socket: S) -> io::Result<S> {
    if socket_acceptconn(&socket)? {
        Ok(socket)
    } else {
        Err(io::Error::other("it does not listen (a unit with Accept=yes passes connections)"))
    }
}
