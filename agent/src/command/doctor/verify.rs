//! `keepwatch doctor --verify`: rows against getsockopt on the very sockets, on the host where it matters.

use super::DoctorArgs;
use crate::command::{Failure, Outcome, output, source::ConnectionReader, textfile};
use crate::{
    config,
    fix::{
        apply::{borrow, holders},
        plan::options,
    },
    kernel::{
        borrowed_socket::{OpenProcesses, Refusal, SocketOptions, WantedSocket},
        clock, host,
    },
    metrics::{Textfile, VERIFIED_SOCKETS, VERIFIED_TIMESTAMP, VerifyResult},
    model::observed::socket::SocketKind,
    view::{filter::Filter, row::Row},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashSet},
    io::{self, Write},
};

/// A row that is not what getsockopt answers.
#[derive(Debug, Serialize)]
struct Difference {
    /// The socket cookie, as `ss -e` writes it.
    id: String,
    /// What the row says.
    row: OptionsAndTimeout,
    /// What getsockopt answers.
    getsockopt: OptionsAndTimeout,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct OptionsAndTimeout {
    #[serde(flatten)]
    options: SocketOptions,
    /// TCP_USER_TIMEOUT.
    user_timeout_ms: u32,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Verification {
    /// Sockets that were reached.
    compared: u64,
    /// Those whose row says what getsockopt answers.
    agree: u64,
    /// The others.
    differences: Vec<Difference>,
    /// Those that were not reached, by reason.
    not_reached: BTreeMap<Refusal, u64>,
}

/// Compares the rows of `most` sockets, or of all.
pub(super) fn run(
    args: &DoctorArgs,
    most: Option<u64>,
    socket: &config::SocketArgs,
    limits: &config::LimitArgs,
) -> Result<Outcome, Failure> {
    let mut reader = ConnectionReader::new(args.source, &socket.socket, limits, &args.owners)?;
    reader.say_which();
    let everything = Filter::default();
    let mut rows = ChosenRows::new(most);
    reader.each_row(&everything, |row| rows.offer(row))?;
    reader.say_unseen();
    let mut found = Verification::default();
    let mut processes = OpenProcesses::default();
    for row in &rows.chosen {
        found.add(&mut processes, row);
    }
    // Its program may have set it between the row and the call.
    if !found.differences.is_empty() {
        let again: HashSet<String> = found.differences.drain(..).map(|it| it.id).collect();
        found.compared -= u64::try_from(again.len()).unwrap_or(0);
        reader.each_row(&everything, |row| {
            if again.contains(row.id()) {
                found.add(&mut processes, &row);
            }
        })?;
    }
    let mut out = output::stdout();
    found.write(&mut out, args.json)?;
    out.flush()?;
    if let Some(file) = &args.textfile {
        textfile::write(file, &found.metrics(clock::unix_seconds()))?;
    }
    Ok(if !found.differences.is_empty() {
        Outcome::Finding
    } else if found.compared == 0 && !found.not_reached.is_empty() {
        Outcome::CannotRun
    } else {
        Outcome::Fine
    })
}

/// ChosenRows that are compared: all, or a random part (Vitter's algorithm R).
struct ChosenRows {
    most: Option<u64>,
    n_offered: u64,
    chosen: Vec<Row>,
}

impl ChosenRows {
    const fn new(most: Option<u64>) -> Self {
        Self { most, n_offered: 0, chosen: Vec::new() }
    }

    fn offer(&mut self, row: Row) {
        self.n_offered += 1;
        let is_room = self.most.is_none_or(|most| self.n_offered <= most);
        if is_room {
            self.chosen.push(row);
            return;
        }
        let place = usize::try_from(host::random() % self.n_offered).unwrap_or(usize::MAX);
        if let Some(chosen) = self.chosen.get_mut(place) {
            *chosen = row;
        }
    }
}

impl Verification {
    fn add(&mut self, processes: &mut OpenProcesses, row: &Row) {
        match compare(processes, row) {
            Ok(difference) => {
                self.compared += 1;
                match difference {
                    Some(difference) => self.differences.push(difference),
                    None => self.agree += 1,
                }
            }
            Err(why) => *self.not_reached.entry(why).or_default() += 1,
        }
    }

    /// `now`: Unix time.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "Unix time")]
    fn metrics(&self, now: f64) -> Textfile {
        let n_not_reached: u64 = self.not_reached.values().sum();
        let rows = VerifyResult::ALL.map(|result| {
            let n = match result {
                VerifyResult::Agree => self.agree,
                VerifyResult::Differ => self.compared - self.agree,
                VerifyResult::NotReached => n_not_reached,
            };
            (result.as_str(), n)
        });
        let mut file = Textfile::default();
        file.add(&VERIFIED_SOCKETS, rows);
        file.add(&VERIFIED_TIMESTAMP, [("", now as u64)]);
        file
    }

    fn write(&self, out: &mut impl Write, json: bool) -> io::Result<()> {
        if json {
            serde_json::to_writer(&mut *out, self)?;
            return out.write_all(b"\n");
        }
        writeln!(
            out,
            "{} of {} rows agree with getsockopt on the very socket",
            self.agree, self.compared
        )?;
        for Difference { id, row, getsockopt } in &self.differences {
            writeln!(
                out,
                "{id}: the row says {}, getsockopt answers {}",
                row.words(),
                getsockopt.words()
            )?;
        }
        for (why, n) in &self.not_reached {
            writeln!(out, "not compared: {n} ({})", why.as_str().replace('_', " "))?;
        }
        Ok(())
    }
}

impl OptionsAndTimeout {
    fn words(self) -> String {
        let SocketOptions { keepalive, idle_seconds, interval_seconds, count } = self.options;
        let on = if keepalive { "on" } else { "off" };
        format!(
            "{on} {idle_seconds} s +{count}x{interval_seconds} s, user timeout {} ms",
            self.user_timeout_ms
        )
    }
}

/// Where the row of a socket differs from what getsockopt answers.
fn compare(processes: &mut OpenProcesses, row: &Row) -> Result<Option<Difference>, Refusal> {
    let connection = &row.connection;
    let wanted = WantedSocket {
        id: row.id().parse().map_err(|_| Refusal::NoDescriptor)?,
        local: connection.local,
        remote: connection.remote,
        is_mptcp: connection.made_by == SocketKind::Mptcp,
    };
    let socket = borrow(processes, &holders(row), &wanted)?;
    let said = OptionsAndTimeout {
        options: options(connection),
        user_timeout_ms: connection.settings.user_timeout_ms,
    };
    let true_ones = OptionsAndTimeout {
        options: socket.options()?,
        // MPTCP does not say.
        user_timeout_ms: socket.user_timeout_ms().unwrap_or(said.user_timeout_ms),
    };
    Ok((said != true_ones).then(|| Difference {
        id: row.id().to_owned(),
        row: said,
        getsockopt: true_ones,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::{
            idle_limit::{IdleLimit, Limits},
            verdict::Surroundings,
        },
        observed::{
            setting::OwnSettings,
            socket::{Comm, Endpoint, Owner, Socket, SocketId, tests_support::socket},
        },
    };
    use std::{
        net::{TcpListener, TcpStream},
        os::fd::AsRawFd as _,
    };

    fn endpoint(addr: std::net::SocketAddr) -> Endpoint {
        let std::net::IpAddr::V4(v4) = addr.ip() else {
            panic!("IPv4 on loopback");
        };
        Endpoint { addr: v4.to_ipv6_mapped(), port: addr.port() }
    }

    #[test]
    fn a_row_that_is_wrong_in_one_value_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        rustix::net::sockopt::set_tcp_keepcnt(&stream, 4).unwrap();
        let true_one = Socket {
            id: SocketId(rustix::net::sockopt::socket_cookie(&stream).unwrap()),
            local: endpoint(stream.local_addr().unwrap()),
            remote: endpoint(stream.peer_addr().unwrap()),
            own: OwnSettings { count: 4, ..OwnSettings::default() },
            ..socket()
        };
        let fd = u32::try_from(stream.as_raw_fd()).ok();
        let owner = Owner { pid: std::process::id(), fd, comm: Comm::default() };
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings::new(limits, 250);
        let difference = |socket: &Socket| {
            let row = Row::new(socket, [&owner], None, &around, socket.at);
            compare(&mut OpenProcesses::default(), &row).unwrap()
        };
        // The sysctls of this host may be set.
        let options = SocketOptions {
            idle_seconds: u32::try_from(
                rustix::net::sockopt::tcp_keepidle(&stream).unwrap().as_secs(),
            )
            .unwrap(),
            interval_seconds: u32::try_from(
                rustix::net::sockopt::tcp_keepintvl(&stream).unwrap().as_secs(),
            )
            .unwrap(),
            keepalive: false,
            count: 4,
        };
        let own = OwnSettings {
            idle_seconds: options.idle_seconds,
            interval_seconds: options.interval_seconds,
            ..true_one.own
        };
        let true_one = Socket { own, ..true_one };
        assert!(difference(&true_one).is_none());
        for wrong in [
            Socket { keepalive: true, ..true_one },
            Socket { own: OwnSettings { count: 5, ..own }, ..true_one },
            Socket { own: OwnSettings { user_timeout_ms: 1, ..own }, ..true_one },
            Socket { own: OwnSettings { idle_seconds: own.idle_seconds + 1, ..own }, ..true_one },
        ] {
            assert_eq!(difference(&wrong).unwrap().getsockopt.options, options);
        }
    }

    #[test]
    fn a_part_is_chosen_of_all() {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings::new(limits, 250);
        let mut rows = ChosenRows::new(Some(10));
        for id in 1..=1000 {
            let socket = Socket { id: SocketId(id), ..socket() };
            rows.offer(Row::new(&socket, [], None, &around, socket.at));
        }
        assert_eq!(rows.chosen.len(), 10);
        let first_ten = (1..=10).map(|id| SocketId(id).to_string());
        let is_first = rows.chosen.iter().map(|row| row.id().to_owned()).eq(first_ten);
        assert!(!is_first, "one in 10^23 of all choices");
    }
}
