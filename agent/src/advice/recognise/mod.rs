//! Which client or server a process is: the rows whose clues weigh most, and whether that is a guess.

use super::{
    clients::{self, Client, Clue, How},
    known_files::name_of,
    process_clues::{Traces, is_called},
};
use crate::model::observed::{setsockopt::SockOpt, setting::OwnValues, socket::Direction};

/// What is known of the connections that are to be recognised.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Look {
    /// What their process shows.
    pub traces: Traces,
    /// The peer's port; our own if the peer connected.
    pub port: u16,
    /// The end that opened the connection.
    pub direction: Direction,
    /// The settings of the socket itself.
    pub own: OwnValues,
    /// Calls that were refused.
    pub refused: Vec<(SockOpt, Option<i32>)>,
}

/// A client that it looks like.
#[derive(Clone, Debug)]
pub(crate) struct Recognised {
    /// The client in the table of advice.
    pub client: &'static Client,
    /// What gave it away, in words.
    pub because: Vec<String>,
    /// The program or library itself shows; else it is a guess by port, values or the language.
    pub is_sure: bool,
    /// What is built on the client, as this process shows it.
    pub part_of: Option<&'static str>,
}

/// A row that fits, with the clues that weigh most.
#[derive(Clone, Copy)]
struct Fit {
    client: &'static Client,
    clues: &'static [Clue],
    weight: u32,
    /// Some of its clues that show name the port.
    is_on_port: bool,
    /// Its library would be among the files that could not be read.
    is_unseen: bool,
}

/// Ports on which libraries of many kinds speak.
const HTTP: [u16; 4] = [80, 443, 8080, 8443];

/// The clients that it may be, the likeliest first: one if that is sure, else up to two guesses, and last what holds
/// for any program of that language.
pub(crate) fn recognise(look: &Look) -> Vec<Recognised> {
    let seen = SeenProcess { look, is_native: look.is_native() };
    let mut fits: Vec<Fit> = clients::of(look.direction).filter_map(|it| seen.fit(it)).collect();
    // Where something speaks the protocol of this port, what is only loaded speaks another; HTTP is spoken by all.
    if !HTTP.contains(&look.port) && fits.iter().any(|fit| fit.is_on_port) {
        fits.retain(|fit| {
            !fit.is_loaded_only() && !fit.is_by_repeats_only() && !fit.is_by_refusal_only()
        });
    }
    // Where a guess takes the place of what could not be read, the language comes last. Stable: of equals the first of
    // the table.
    let is_guessed = fits.iter().any(|fit| fit.is_unseen);
    fits.sort_by_key(|fit| (is_guessed && fit.is_of_language(), std::cmp::Reverse(fit.weight)));
    let Some(best) = fits.first().copied() else {
        return Vec::new();
    };
    let mut chosen = vec![best];
    let is_as_likely = |fit: &Fit| {
        fit.is_rival()
            && (!best.is_specific() || (fit.is_sure() && fit.weight.abs_diff(best.weight) <= 1))
            && fit.client.line() != best.client.line()
    };
    let is_alone =
        best.is_sure() && !seen.may_be_another(&best) && !fits.iter().skip(1).any(is_as_likely);
    if !is_alone {
        let other = |fit: &&Fit| fit.is_rival() && fit.client.line() != best.client.line();
        chosen.extend(fits.iter().skip(1).find(other));
        chosen.extend(fits.iter().find(|fit| fit.is_of_language()));
    }
    let chosen = once_each_line(chosen);
    let is_one = chosen.len() == 1;
    let told = |fit: Fit| Recognised {
        client: fit.client,
        because: look.because(&fit),
        is_sure: (is_one && fit.is_sure()) || fit.is_of_language(),
        part_of: fit.client.used_by.iter().copied().find(|part| look.uses(part)),
    };
    chosen.into_iter().map(told).collect()
}

/// Two rows with the same line are one advice: that of the language holds in any case, else the first.
fn once_each_line(chosen: Vec<Fit>) -> Vec<Fit> {
    let mut once: Vec<Fit> = Vec::new();
    for fit in chosen {
        match once.iter_mut().find(|it| it.client.line() == fit.client.line()) {
            Some(it) if fit.is_of_language() => *it = fit,
            Some(_) => {}
            None => once.push(fit),
        }
    }
    once
}

impl Fit {
    /// That it is loaded is all that shows: neither the port nor the name of the program nor telling values.
    fn is_loaded_only(&self) -> bool {
        let is_loaded =
            |clue: &Clue| matches!(clue, Clue::Library(_) | Clue::Loaded(_) | Clue::Module(_));
        !self.is_on_port
            && self.clues.iter().any(is_loaded)
            && self.clues.iter().all(|clue| clue.is_commonplace())
    }

    /// Interval and count of a library that many others are built on.
    fn is_by_repeats_only(&self) -> bool {
        !self.is_on_port && self.clues.iter().any(|clue| matches!(clue, Clue::Repeats(..)))
    }

    /// A call that the kernel refused: many libraries of a language make it, each by an option of its own name.
    fn is_by_refusal_only(&self) -> bool {
        let is_library =
            |clue: &Clue| matches!(clue, Clue::Name(_) | Clue::Library(_) | Clue::Module(_));
        !self.is_on_port
            && self.clues.iter().any(|clue| matches!(clue, Clue::Refused(..)))
            && !self.clues.iter().any(is_library)
    }

    /// The program or library shows, or no more than the language is said.
    fn is_sure(&self) -> bool {
        self.is_of_language() || (!self.is_unseen && self.clues.iter().any(|clue| clue.is_proof()))
    }

    /// It says no more than the language, which holds in any case.
    fn is_of_language(&self) -> bool {
        let is_library = || {
            let mut clues = self.client.clues.iter().copied().flatten();
            clues.any(|clue| matches!(clue, Clue::Module(_)))
        };
        clients::is_generic(self.clues) || (self.clues.contains(&Clue::Go) && !is_library())
    }

    /// It says more than that something is loaded: this connection fits it, too.
    fn is_specific(&self) -> bool {
        self.is_of_language() || !self.is_loaded_only()
    }

    /// It says more than the language.
    fn is_rival(&self) -> bool {
        !self.is_of_language()
    }
}

/// What is looked at, and what each row asks of it anew.
struct SeenProcess<'a> {
    look: &'a Look,
    /// No interpreter or virtual machine runs the program.
    is_native: bool,
}

impl SeenProcess<'_> {
    /// The list of this client's clues that weighs most, if one shows and nothing speaks against the client.
    fn fit(&self, client: &'static Client) -> Option<Fit> {
        let weigh = |clues: &[Clue]| clues.iter().map(|clue| clue.weight()).sum::<u32>();
        let Self { look, is_native } = *self;
        // What the socket shows may be typical of a client; not in another language than that client's.
        let is_possible =
            |clues: &[Clue]| is_native || clues.iter().any(|clue| clue.is_of_process());
        let possible = client.clues.iter().copied().filter(|clues| is_possible(clues));
        let shown = possible.clone().filter(|clues| clues.iter().all(|it| self.shows(client, *it)));
        let names_port = |clues: &&[Clue]| clues.iter().any(|it| matches!(it, Clue::Port(_)));
        let is_on_port = shown.clone().any(|clues| names_port(&clues));
        let seen = shown.max_by_key(|clues| weigh(clues));
        let unseen = || possible.clone().find(|clues| self.may_show(client, clues));
        let (clues, is_unseen) = match seen {
            Some(clues) => (clues, false),
            None => (unseen()?, true),
        };
        let of_guess = if is_unseen { clues.len().try_into().ok()? } else { weigh(clues) };
        // Of two versions that look alike, the one whose default the socket has.
        let weight = 2 * of_guess + u32::from(client.default.keepalive == look.own.keepalive);
        let is_on_port = is_on_port || is_unseen;
        let fit = Fit { client, clues, weight, is_on_port, is_unseen };
        (!look.is_built_otherwise(&fit) && !look.speaks_against(&fit)).then_some(fit)
    }

    /// An interpreter has many libraries loaded (PHP loads all its extensions): away from its port one of them is a guess.
    fn may_be_another(&self, fit: &Fit) -> bool {
        let mut clues = fit.client.clues.iter().copied().flatten();
        let has_port = clues.any(|clue| matches!(clue, Clue::Port(_)));
        fit.is_loaded_only() && has_port && !self.is_native
    }

    /// Whether these clues would show if the files of the process could be read: a C library on the port of its
    /// protocol, in a language that calls C libraries.
    fn may_show(&self, client: &Client, clues: &[Clue]) -> bool {
        let is_of_c = |clue: &Clue| matches!(clue, Clue::Library(part) if part.starts_with("/lib"));
        let calls_c = ["java", "dotnet", "node", "beam.smp"];
        !self.look.traces.are_files_read
            && self.look.traces.go.is_none()
            && calls_c.iter().all(|other| self.look.name_like(other).is_none())
            && clues.iter().any(is_of_c)
            && clues.iter().any(|clue| matches!(clue, Clue::Port(_)))
            && clues.iter().all(|clue| is_of_c(clue) || self.shows(client, *clue))
    }

    fn shows(&self, client: &Client, clue: Clue) -> bool {
        let look = self.look;
        match clue {
            Clue::Name(name) | Clue::Runtime(name) => look.name_like(name).is_some(),
            Clue::Library(part) | Clue::Loaded(part) | Clue::VirtualMachine(part) => {
                look.library(part).is_some()
            }
            Clue::Without(part) => look.traces.are_files_read && look.library(part).is_none(),
            Clue::Unread => !look.traces.are_files_read,
            Clue::Repeats(interval, count) => {
                look.own.idle > 0 && look.own.interval == interval && look.own.count == count
            }
            Clue::Native => self.is_native,
            Clue::Go => look.traces.go.is_some(),
            Clue::Module(module) => look.traces.go.as_ref().is_some_and(|go| go.has(module)),
            Clue::Port(port) => port == look.port,
            Clue::Values(values) => look.own == values,
            Clue::Defaults => look.own == client.default,
            Clue::Refused(option, value) => look.refused.contains(&(option, Some(value))),
            Clue::Kernel => look.traces.is_kernel(),
            Clue::SocketActivated => look.traces.is_socket_activated,
            Clue::UserTimeoutOnly => !look.own.keepalive && look.own.user_timeout_ms > 0,
        }
    }
}

impl Look {
    /// What the socket or its port says against it: a program that shows itself may have been configured, a guess is
    /// only as good as all that is known.
    fn speaks_against(&self, fit: &Fit) -> bool {
        let client = fit.client;
        if clients::is_generic(fit.clues) {
            return false;
        }
        if !fit.is_unseen && fit.clues.iter().any(|clue| clue.is_proof()) {
            return fit.is_loaded_only() && self.is_port_of_others(client);
        }
        let is_off = client.default.keepalive && !self.own.keepalive;
        let sets_times = matches!(client.how, How::Line(_)) || self.own.idle == client.default.idle;
        let can_be_on = !matches!(client.how, How::None) || client.default.keepalive;
        is_off || (self.own.idle > 0 && !sets_times) || (self.own.keepalive && !can_be_on)
    }

    /// Go built the program with a version that does not know the line, or without the client's module.
    fn is_built_otherwise(&self, fit: &Fit) -> bool {
        let Some(go) = &self.traces.go else {
            return false;
        };
        let (from, before) = fit.client.go;
        if go.version.is_none() {
            // Every Go compiles the older line. Some values are those of newer ones only.
            let is_telling = |clue: &Clue| {
                *clue == Clue::Defaults
                    || matches!(clue, Clue::Values(it) if clients::is_telling(it))
            };
            return from > 0 && !fit.clues.iter().any(is_telling);
        }
        let is_other_version = go.minor().is_some_and(|minor| !(from..before).contains(&minor));
        let mut modules =
            fit.client.clues.iter().copied().flatten().filter_map(|clue| match clue {
                Clue::Module(module) => Some(go.has(module)),
                _ => None,
            });
        is_other_version || modules.next().is_some_and(|first| !first && !modules.any(|it| it))
    }

    /// The client speaks one protocol, and the port belongs to another.
    fn is_port_of_others(&self, client: &Client) -> bool {
        let clues = |client: &Client| client.clues.iter().copied().flatten();
        let knows = |client: &Client| clues(client).any(|clue| *clue == Clue::Port(self.port));
        let has_port = clues(client).any(|clue| matches!(clue, Clue::Port(_)));
        has_port && !knows(client) && clients::of(self.direction).any(knows)
    }

    /// Why it is this one, in words.
    fn because(&self, fit: &Fit) -> Vec<String> {
        let mut because: Vec<_> = fit.clues.iter().filter_map(|clue| self.words(*clue)).collect();
        if clients::is_generic(fit.clues) && !self.traces.are_files_read && self.traces.go.is_none()
        {
            because.push("which libraries it had loaded is not known".to_owned());
        }
        because
    }

    /// Whether no interpreter or virtual machine runs the program.
    fn is_native(&self) -> bool {
        let all = clients::of(self.direction);
        let languages = all
            .flat_map(|client| client.clues.iter().copied().filter(|it| clients::is_generic(it)));
        languages.flatten().all(|clue| match clue {
            Clue::Runtime(name) => self.name_like(name).is_none(),
            Clue::VirtualMachine(part) => self.library(part).is_none(),
            _ => self.traces.go.is_none(),
        })
    }

    /// Whether the process is `part`, or has a file of it loaded.
    fn uses(&self, part: &str) -> bool {
        self.name_like(part).is_some() || self.library(part).is_some()
    }

    /// The process's name or its executable's, if it is `name` with or without a version.
    fn name_like(&self, name: &str) -> Option<&str> {
        let names = [&self.traces.comm, &self.traces.executable].into_iter().flatten();
        names.map(String::as_str).find(|found| is_called(found, name))
    }

    /// A file with this in its path, best in its own name.
    fn library(&self, part: &str) -> Option<&str> {
        let mut files =
            self.traces.mapped.iter().map(String::as_str).filter(|it| it.contains(part));
        let is_named = |path: &&str| name_of(path).contains(part);
        files.clone().find(is_named).or_else(|| files.next())
    }

    /// What a clue that shows is, to read; none if it goes without saying.
    fn words(&self, clue: Clue) -> Option<String> {
        match clue {
            Clue::Name(name) | Clue::Runtime(name) => {
                self.name_like(name).map(|found| format!("the program is {found}"))
            }
            Clue::Native | Clue::Without(_) | Clue::Unread => None,
            Clue::Library(part) | Clue::Loaded(part) | Clue::VirtualMachine(part) => self
                .library(part)
                .map(|path| format!("{} is loaded", path.rsplit('/').next().unwrap_or(path))),
            Clue::Go => Some(match self.traces.go.as_ref().and_then(|go| go.version.as_ref()) {
                Some(version) => format!("built with {version}"),
                None => "a Go program".to_owned(),
            }),
            Clue::Module(module) => Some(format!("{module} is inside")),
            Clue::Port(port) => Some(format!("port {port}")),
            Clue::Values(_) | Clue::Defaults | Clue::Repeats(..) => Some(sets(&self.own)),
            Clue::Kernel => Some("the kernel itself owns the connection".to_owned()),
            Clue::SocketActivated => Some("systemd passed its listening socket to it".to_owned()),
            Clue::UserTimeoutOnly => Some(format!(
                "keepalive is off, and a user timeout of {} ms is set",
                self.own.user_timeout_ms
            )),
            Clue::Refused(option, value) => {
                Some(format!("{} = {value} was refused", option.as_str()))
            }
        }
    }
}

/// What the socket itself sets, in words.
fn sets(own: &OwnValues) -> String {
    if *own == clients::ON {
        "it turns keepalive on and sets no times of its own".to_owned()
    } else {
        format!("it sets {}", values(own))
    }
}

/// `60/10/-`, as values are written in this field: idle, interval, count.
pub(crate) fn values(own: &OwnValues) -> String {
    let part = |value: u32| if value == 0 { "-".to_owned() } else { value.to_string() };
    let mut text = if own.keepalive {
        format!("{}/{}/{}", part(own.idle), part(own.interval), part(own.count))
    } else {
        "off".to_owned()
    };
    if own.user_timeout_ms > 0 {
        text += &format!(" ut {} ms", own.user_timeout_ms);
    }
    text
}

#[cfg(test)]
mod node_tests;
#[cfg(test)]
mod tests;
