//! One HTTP/1.1 request by hand: what a scraper sends.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// An HTTP answer, read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status code, like 200.
    pub status: u16,
    /// Value of the Content-Type header.
    pub content_type: String,
    /// The body as text.
    pub body: String,
}

/// `GET path`, with this Accept header.
pub fn get(address: SocketAddr, path: &str, accept: &str) -> io::Result<HttpAnswer> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    exchange(stream, &address.to_string(), path, accept)
}

/// `GET path` of an API socket.
pub fn get_of_socket(socket: &Path, path: &str) -> io::Result<HttpAnswer> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    exchange(stream, "keepwatch", path, "*/*")
}

fn exchange(
    mut stream: impl io::Read + io::Write,
    host: &str,
    path: &str,
    accept: &str,
) -> io::Result<HttpAnswer> {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    parse(&text).ok_or_else(|| io::Error::other(format!("no HTTP: {text:?}")))
}

fn parse(text: &str) -> Option<HttpAnswer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |wanted: &str| {
        lines.clone().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
        })
    };
    let content_type = header("content-type").unwrap_or_default();
    let body = match header("transfer-encoding") {
        Some(coding) if coding == "chunked" => without_chunks(body)?,
        _ => body.to_owned(),
    };
    Some(HttpAnswer { status, content_type, body })
}

fn without_chunks(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size + 2..)?;
    }
}

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    /// The status line and the headers.
    pub head: String,
    /// What is behind them.
    pub body: Vec<u8>,
}

impl RawAnswer {
    /// The status code; 0 if there is none.
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
    }

    /// The value of a header.
    pub fn header(&self, wanted: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text is UTF-8")
    }
}

/// `GET PATH` with these header lines, over any stream.
pub fn ask(
    mut stream: impl io::Read + io::Write,
    path: &str,
    headers: &[&str],
) -> io::Result<RawAnswer> {
    let headers: String = headers.iter().flat_map(|line| [*line, "\r\n"]).collect();
    write!(stream, "GET {path} HTTP/1.1\r\n{headers}\r\n")?;
    stream.flush()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let split = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let split = split.ok_or_else(|| io::Error::other(format!("no HTTP: {bytes:?}")))?;
    let body = bytes.split_off(split + 4);
    Ok(RawAnswer { head: String::from_utf8_lossy(&bytes).into_owned(), body })
}

/// The same of a metrics endpoint without TLS.
pub fn ask_at(address: SocketAddr, path: &str, headers: &[&str]) -> io::Result<RawAnswer> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    ask(stream, path, headers)
}

/// A port on loopback that nobody has at the moment.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    listener.local_addr().expect("its address")
}
