//! The commands' end of the API: one request a connection, blocking, with nothing but the standard
//! library. Rows are passed on as they come.

mod chunked;
mod error;
mod past;
mod unparsed;

pub(crate) use error::Error;

use super::{AgentStatus, events::SIGN_OF_LIFE};
use crate::view::{
    event_filter::EventFilter,
    event_row::StreamLine,
    filter::Filter,
    page::{Page, PageRequest},
    row::Row,
};
pub(crate) use past::{calls, death_count, deaths, learned, not_kept, timeline};

use chunked::{Chunked, malformed, read_line};
use serde::de::DeserializeOwned;
use std::{
    io::{self, BufRead, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// An agent that sends nothing for this time hangs. On a stream of events that is several signs of life: on a busy
/// host one may come late.
const PATIENCE: Duration = Duration::from_secs(15);
const _: () = assert!(PATIENCE.as_secs() >= 4 * SIGN_OF_LIFE.as_secs());
/// Bounds of what an answer may have in one piece.
const MAX_HEAD_LINE: u64 = 8 << 10;
const MAX_HEAD_LINES: usize = 64;
const MAX_MESSAGE: u64 = 4 << 10;
const MAX_ROW: usize = 16 << 20;
/// Bytes of an answer that are read at once.
const BLOCK: usize = 128 << 10;

/// Passes each row that the filter admits to `each`, until that returns false.
pub(crate) fn sockets(
    path: &Path,
    filter: &Filter,
    each: impl FnMut(Row) -> bool,
) -> Result<(), Error> {
    let mut body = filtered(path, filter, "")?;
    each_line(&mut body, each).map_err(|cause| Error::reading(path, cause))
}

/// The same, of now: for that the agent takes a snapshot, if its last is old and another is cheap.
pub(crate) fn fresh_sockets(
    path: &Path,
    filter: &Filter,
    each: impl FnMut(Row) -> bool,
) -> Result<(), Error> {
    let mut body = filtered(path, filter, "&fresh=true")?;
    each_line(&mut body, each).map_err(|cause| Error::reading(path, cause))
}

/// Passes the rows that the filter admits to `each` as the agent wrote them, whole lines of JSON and as many at once as
/// have come, until that returns false.
pub(crate) fn socket_lines(
    path: &Path,
    filter: &Filter,
    each: impl FnMut(&[u8]) -> bool,
) -> Result<(), Error> {
    let mut body = filtered(path, filter, "")?;
    unparsed::each_block(&mut body, MAX_ROW, each).map_err(|cause| Error::reading(path, cause))
}

/// The body of the answer about these connections. `more`: other parameters.
fn filtered(path: &Path, filter: &Filter, more: &str) -> Result<Box<dyn BufRead>, Error> {
    let filter = serde_json::to_string(filter)
        .map_err(|error| Error::Socket { path: path.to_owned(), cause: error.into() })?;
    get(path, &format!("/v1/sockets?filter={}{more}", percent_encoded(&filter)))
}

/// What happens, line by line, until `each` returns false or the agent ends. The first call, with
/// none, says that from now on nothing is missed; each further one that the agent lives, and that all of the past has come.
pub(crate) fn events(
    path: &Path,
    wanted: &EventFilter,
    each: impl FnMut(Option<StreamLine>) -> bool,
) -> Result<(), Error> {
    events_within(path, wanted, PATIENCE, each)
}

/// The same for a client that waits for less, or more.
fn events_within(
    path: &Path,
    wanted: &EventFilter,
    patience: Duration,
    mut each: impl FnMut(Option<StreamLine>) -> bool,
) -> Result<(), Error> {
    let wanted = serde_json::to_string(wanted)
        .map_err(|error| Error::Socket { path: path.to_owned(), cause: error.into() })?;
    let target = format!("/v1/events?wanted={}", percent_encoded(&wanted));
    let mut body = get_within(path, &target, patience)?;
    // The agent begins with a sign of life, before the past.
    let read = each_text_or_sign(&mut body, |text| {
        Ok(each(text.map(serde_json::from_slice).transpose()?))
    });
    read.map_err(|cause| Error::reading(path, cause))
}

/// One page of the connections.
pub(crate) fn page(path: &Path, pick: &PageRequest) -> Result<Page, Error> {
    let pick = serde_json::to_string(pick)
        .map_err(|error| Error::Socket { path: path.to_owned(), cause: error.into() })?;
    let mut body = get(path, &format!("/v1/page?pick={}", percent_encoded(&pick)))?;
    only(&mut body).map_err(|cause| Error::reading(path, cause))
}

/// What the agent says of itself.
pub(crate) fn status(path: &Path) -> Result<AgentStatus, Error> {
    let mut body = get(path, "/v1/status")?;
    only(&mut body).map_err(|cause| Error::reading(path, cause))
}

/// The one object of a body.
fn only<T: DeserializeOwned>(body: &mut impl BufRead) -> io::Result<T> {
    let mut object = None;
    each_line(body, |line| object.replace(line).is_none())
        .and_then(|()| object.ok_or_else(|| malformed("an empty answer")))
}

fn each_line<T: DeserializeOwned>(
    body: &mut impl BufRead,
    mut each: impl FnMut(T) -> bool,
) -> io::Result<()> {
    each_text(body, |line| serde_json::from_slice(line).map(&mut each))
}

/// Passes on each line that has something in it.
fn each_text(
    body: &mut impl BufRead,
    mut each: impl FnMut(&[u8]) -> serde_json::Result<bool>,
) -> io::Result<()> {
    each_text_or_sign(body, |text| text.map_or(Ok(true), &mut each))
}

/// Passes on each line, none where it is empty.
fn each_text_or_sign(
    body: &mut impl BufRead,
    mut each: impl FnMut(Option<&[u8]>) -> serde_json::Result<bool>,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if body.by_ref().take(MAX_ROW as u64).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        // An empty one is a sign of life.
        let text = Some(&line[..]).filter(|text| !text.trim_ascii().is_empty());
        let goes_on =
            each(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if !goes_on {
            return Ok(());
        }
    }
}

/// Asks for `target`; the body of a good answer.
fn get(path: &Path, target: &str) -> Result<Box<dyn BufRead>, Error> {
    get_within(path, target, PATIENCE)
}

/// The same of an agent that may be silent for this time at most.
fn get_within(path: &Path, target: &str, patience: Duration) -> Result<Box<dyn BufRead>, Error> {
    let stream = UnixStream::connect(path).map_err(|cause| Error::connecting(path, cause))?;
    let answer = ask(&stream, target, patience)
        .and_then(|()| AgentAnswer::read(BufReader::with_capacity(BLOCK, stream)));
    let AgentAnswer { status, body } = answer.map_err(|cause| Error::asking(path, cause))?;
    if status == 200 {
        return Ok(body);
    }
    let mut message = Vec::new();
    body.take(MAX_MESSAGE)
        .read_to_end(&mut message)
        .map_err(|cause| Error::reading(path, cause))?;
    let message = String::from_utf8_lossy(message.trim_ascii()).into_owned();
    Err(Error::Refused { path: path.to_owned(), status, message })
}

fn ask(mut stream: &UnixStream, target: &str, patience: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let head = format!("GET {target} HTTP/1.1\r\nHost: keepwatch\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())
}

/// An answer whose head has been read.
struct AgentAnswer {
    status: u16,
    body: Box<dyn BufRead>,
}

impl AgentAnswer {
    fn read(mut reader: impl BufRead + 'static) -> io::Result<Self> {
        let status = read_line(&mut reader, MAX_HEAD_LINE)?
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| malformed("no HTTP/1.1 status"))?;
        let mut length: Option<Length> = None;
        for _ in 0..MAX_HEAD_LINES {
            let line = read_line(&mut reader, MAX_HEAD_LINE)?;
            if line.is_empty() {
                let length = length.ok_or_else(|| malformed("an answer without a length"))?;
                return Ok(Self { status, body: length.of(reader) });
            }
            // Chunks have lengths of their own (RFC 9112, 6.3).
            length = match (length, Length::said_by(&line)?) {
                (Some(Length::Chunked), _) | (_, None) => length,
                (_, said) => said,
            };
        }
        Err(malformed("too many header fields"))
    }
}

/// How a body shows its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Chunked,
    Bytes(u64),
}

impl Length {
    /// What a header field says of it, if it does.
    fn said_by(field: &str) -> io::Result<Option<Self>> {
        let (name, value) = field.split_once(':').ok_or_else(|| malformed("no header field"))?;
        match (name.to_ascii_lowercase().as_str(), value.trim_ascii()) {
            ("transfer-encoding", value) if value.eq_ignore_ascii_case("chunked") => {
                Ok(Some(Self::Chunked))
            }
            ("transfer-encoding", _) => Err(malformed("an unknown transfer coding")),
            ("content-length", value) => match value.parse() {
                Ok(n) => Ok(Some(Self::Bytes(n))),
                Err(_) => Err(malformed("a content length that is no number")),
            },
            _ => Ok(None),
        }
    }

    fn of(self, reader: impl BufRead + 'static) -> Box<dyn BufRead> {
        match self {
            Self::Chunked => Box::new(Chunked::new(reader)),
            Self::Bytes(n) => Box::new(Chunked::exactly(reader, n)),
        }
    }
}

/// Text as it may stand in a query (RFC 3986, 2.1).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::net::UnixListener, thread};

    /// What the client makes of `answer`, word for word.
    fn status_from(name: &str, answer: &'static str) -> Result<AgentStatus, Error> {
        let path =
            std::env::temp_dir().join(format!("keepwatch-client-{name}-{}", std::process::id()));
        drop(std::fs::remove_file(&path));
        let listener = UnixListener::bind(&path).unwrap();
        let agent = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while !read_line(&mut reader, MAX_HEAD_LINE).unwrap().is_empty() {}
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let status = status(&path);
        agent.join().unwrap();
        std::fs::remove_file(&path).unwrap();
        status
    }

    #[test]
    fn where_nobody_listens_there_is_no_agent() {
        let path = Path::new("/nonexistent/keepwatch.sock");
        let error = status(path).unwrap_err();
        assert!(matches!(error, Error::NoAgent { .. }));
        assert!(error.to_string().contains("keepwatch run"), "{error}");
        let path = std::env::temp_dir().join(format!("keepwatch-dead-{}", std::process::id()));
        drop(UnixListener::bind(&path).unwrap());
        assert!(matches!(status(&path), Err(Error::NoAgent { .. })));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_socket_for_others_is_told_from_one_without_an_agent() {
        // Root may connect to anything, so the kernel's answer is made up.
        let error = Error::connecting(Path::new("/x"), io::ErrorKind::PermissionDenied.into());
        assert!(matches!(error, Error::Denied { .. }));
        assert!(error.to_string().contains("--socket-group"), "{error}");
    }

    #[test]
    fn a_refusal_is_passed_on_in_the_agents_words() {
        let answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 8\r\n\r\nbecause\n";
        match status_from("refused", answer) {
            Err(Error::Refused { status: 400, message, .. }) => assert_eq!(message, "because"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_that_breaks_off_is_not_a_short_one() {
        for head in ["", "HTTP/1.1 200 OK\r\n"] {
            let error = status_from("none", head).unwrap_err();
            assert!(matches!(error, Error::NoAnswer { .. }), "{head:?}: {error:?}");
        }
        let answers = [
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"pid\":1",
        ];
        for answer in answers {
            let error = status_from("cut", answer).unwrap_err();
            assert!(matches!(error, Error::BrokenOff { .. }), "{answer:?}: {error:?}");
            assert!(error.to_string().contains("not complete"), "{error}");
        }
    }

    #[test]
    fn an_agent_that_hangs_in_the_middle_of_a_stream_is_noticed() {
        let path = std::env::temp_dir().join(format!("keepwatch-hangs-{}", std::process::id()));
        drop(std::fs::remove_file(&path));
        let listener = UnixListener::bind(&path).unwrap();
        let (gone, is_gone) = std::sync::mpsc::channel::<()>();
        let agent = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while !read_line(&mut reader, MAX_HEAD_LINE).unwrap().is_empty() {}
            let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
            // The connection stays open until the client has given up.
            is_gone.recv().ok();
        });
        let patience = Duration::from_millis(100);
        let mut n_calls = 0;
        let ended = events_within(&path, &EventFilter::default(), patience, |line| {
            n_calls += 1;
            line.is_none()
        });
        drop(gone);
        agent.join().unwrap();
        std::fs::remove_file(&path).unwrap();
        let error = ended.unwrap_err();
        assert!(matches!(error, Error::Silent { .. }), "{error:?}");
        assert!(error.to_string().contains("has sent nothing for 15 s"), "{error}");
        assert_eq!(n_calls, 1, "it was heard, and no event came");
    }

    #[test]
    fn an_answer_of_another_server_is_refused() {
        let answers = [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno field\r\n\r\n",
        ];
        for answer in answers {
            let error = status_from("other", answer).unwrap_err();
            assert!(matches!(error, Error::Protocol { .. }), "{answer:?}: {error:?}");
        }
    }

    #[test]
    fn a_query_keeps_every_byte_of_a_filter() {
        assert_eq!(
            percent_encoded("{\"a\":\"b&c=d+e %\u{e9}\"}"),
            "%7B%22a%22%3A%22b%26c%3Dd%2Be%20%25%C3%A9%22%7D"
        );
    }
}
