//! The kernel as the owner of a socket: of one that it made for itself, and of one that a program made and handed over.

use super::socket::{Comm, Endpoint, Owner, Socket, State};

/// Services by their port: what a client of it is called, and what a server is.
const SERVICES: [(u16, &str, &str); 5] = [
    (2049, "nfs", "nfsd"),
    (445, "cifs", "ksmbd"),
    (10_809, "nbd", "nbd"),
    (3260, "iscsi", "iscsi"),
    (16_385, "rds", "rds"),
];

/// Services whose program connects, hands the socket to the kernel, and may end.
const HANDED_OVER: [u16; 2] = [10_809, 3260];

/// The kernel, named after the service that it runs over this connection, as far as ports tell.
pub fn kernel_owner(local: Endpoint, remote: Endpoint) -> Owner {
    let service = SERVICES.iter().find_map(|&(port, client, server)| match () {
        () if remote.port == port => Some(client),
        () if local.port == port => Some(server),
        () => None,
    });
    let name = service.map_or_else(|| "kernel".to_owned(), |name| format!("kernel ({name})"));
    let mut comm = [0; 16];
    comm.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    Owner { pid: Owner::KERNEL, fd: None, comm: Comm::new(comm) }
}

/// The kernel, if it has taken over this connection, which no process has open: so it is with some services, while the
/// connection is established.
pub fn taker(socket: &Socket) -> Option<Owner> {
    let is_taken = socket.state == State::Established
        && !socket.is_orphan
        && HANDED_OVER.contains(&socket.remote.port);
    is_taken.then(|| kernel_owner(socket.local, socket.remote))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::socket::tests_support::socket;

    fn to_port(port: u16) -> Socket {
        Socket { remote: Endpoint { port, ..socket().remote }, ..socket() }
    }

    #[test]
    fn the_kernel_is_named_after_its_service_and_which_end_it_is() {
        let named = |socket: Socket| kernel_owner(socket.local, socket.remote).comm.escaped();
        assert_eq!(named(to_port(2049)), "kernel (nfs)");
        assert_eq!(named(to_port(3260)), "kernel (iscsi)");
        let local = Endpoint { port: 445, ..socket().local };
        assert_eq!(named(Socket { local, ..socket() }), "kernel (ksmbd)");
        assert_eq!(named(to_port(443)), "kernel");
    }

    #[test]
    fn only_an_established_connection_of_such_a_service_is_handed_over() {
        let nbd = to_port(10_809);
        assert_eq!(taker(&nbd).map(|owner| owner.pid), Some(0));
        assert_eq!(taker(&to_port(443)), None, "on its way between two processes");
        assert_eq!(taker(&Socket { state: State::FinWait1, ..nbd }), None);
        assert_eq!(taker(&Socket { is_orphan: true, ..nbd }), None);
    }
}
