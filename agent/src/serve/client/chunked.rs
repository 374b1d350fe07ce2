//! Bodies with a marked end, so that an agent which dies in the middle of its answer is not taken for one with fewer
//! sockets: the chunked transfer coding (RFC 9112, 7.1), and bodies whose length was given.

use std::io::{self, BufRead, Read};

/// A chunk's size, its extensions, or a trailer: everything beside the data.
const MAX_LINE: u64 = 1024;

/// What is in the chunks, or in the number of bytes that was given.
#[derive(Debug)]
pub(super) struct Chunked<R> {
    inner: R,
    place: ChunkPlace,
}

/// Where the reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkPlace {
    /// Before a chunk's size.
    Size,
    /// In a chunk with this number of bytes left, never zero.
    Data(u64),
    /// In a body without chunks, with this number of bytes left.
    Rest(u64),
    /// After a chunk's data, before the line end that closes it.
    AfterData,
    /// After the last chunk and its trailers.
    End,
}

impl<R: BufRead> Chunked<R> {
    pub(super) const fn new(inner: R) -> Self {
        Self { inner, place: ChunkPlace::Size }
    }

    /// A body of `n` bytes, not chunked.
    pub(super) const fn exactly(inner: R, n: u64) -> Self {
        Self { inner, place: ChunkPlace::Rest(n) }
    }

    /// Goes on to data, or to the end.
    fn begin_chunk(&mut self) -> io::Result<()> {
        let line = read_line(&mut self.inner, MAX_LINE)?;
        let size = line.split(';').next().unwrap_or_default().trim_ascii();
        // `from_str_radix` would take a sign.
        let is_hex = size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = u64::from_str_radix(size, 16)
            .ok()
            .filter(|_| is_hex)
            .ok_or_else(|| malformed("a chunk without a size"))?;
        self.place = if size == 0 { ChunkPlace::End } else { ChunkPlace::Data(size) };
        if size == 0 {
            while !read_line(&mut self.inner, MAX_LINE)?.is_empty() {}
        }
        Ok(())
    }
}

impl<R: BufRead> BufRead for Chunked<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.place == ChunkPlace::AfterData {
            if !read_line(&mut self.inner, MAX_LINE)?.is_empty() {
                return Err(malformed("a chunk longer than its size"));
            }
            self.place = ChunkPlace::Size;
        }
        if self.place == ChunkPlace::Size {
            self.begin_chunk()?;
        }
        let (ChunkPlace::Data(rest) | ChunkPlace::Rest(rest @ 1..)) = self.place else {
            return Ok(&[]);
        };
        let bytes = self.inner.fill_buf()?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = bytes.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        Ok(bytes.get(..len).unwrap_or_default())
    }

    fn consume(&mut self, n: usize) {
        self.inner.consume(n);
        let n = u64::try_from(n).unwrap_or(u64::MAX);
        self.place = match self.place {
            ChunkPlace::Data(rest) if rest <= n => ChunkPlace::AfterData,
            ChunkPlace::Data(rest) => ChunkPlace::Data(rest - n),
            ChunkPlace::Rest(rest) => ChunkPlace::Rest(rest.saturating_sub(n)),
            place => place,
        };
    }
}

impl<R: BufRead> Read for Chunked<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.fill_buf()?;
        let n = bytes.read(to)?;
        self.consume(n);
        Ok(n)
    }
}

/// A line without its end, CRLF or a bare LF. A line that does not end is an error.
pub(super) fn read_line(reader: &mut impl BufRead, max_len: u64) -> io::Result<String> {
    let mut line = String::new();
    reader.by_ref().take(max_len).read_line(&mut line)?;
    let Some(content) = line.strip_suffix('\n') else {
        let is_long = u64::try_from(line.len()).is_ok_and(|len| len >= max_len);
        return Err(if is_long {
            malformed("too long a line")
        } else {
            io::ErrorKind::UnexpectedEof.into()
        });
    };
    Ok(content.strip_suffix('\r').unwrap_or(content).to_owned())
}

pub(super) fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    /// Decodes `bytes` as they come when each read of the socket returns at most `step` of them.
    fn decode(bytes: impl AsRef<[u8]>, step: usize) -> io::Result<String> {
        let mut text = String::new();
        let reader = BufReader::with_capacity(step, bytes.as_ref());
        Chunked::new(reader).read_to_string(&mut text).map(|_| text)
    }

    #[test]
    fn chunks_are_put_together_however_they_arrive() {
        let bytes =
            "4\r\n{\"a\"\r\nA;name=value\r\n:1}\n{\"b\":2\r\n01\r\n}\r\n0\r\nTrailer: x\r\n\r\n";
        for step in 1..=bytes.len() {
            assert_eq!(decode(bytes, step).unwrap(), "{\"a\":1}\n{\"b\":2}", "{step}");
        }
        assert_eq!(decode("0\r\n\r\n", 9).unwrap(), "");
    }

    #[test]
    fn data_may_look_like_the_coding() {
        assert_eq!(decode("7\r\n0\r\n\r\n0\r\r\n0\r\n\r\n", 3).unwrap(), "0\r\n\r\n0\r");
    }

    #[test]
    fn what_stops_before_its_end_is_an_error_wherever_it_stops() {
        let bytes = "4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n";
        for len in 0..bytes.len() {
            let error = decode(bytes.get(..len).unwrap(), 5).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{len}");
        }
    }

    #[test]
    fn a_body_of_a_given_length_ends_there_and_not_before() {
        let body = |n| {
            let mut text = String::new();
            let reader = BufReader::with_capacity(3, "0\r\n\r\n".as_bytes());
            Chunked::exactly(reader, n).read_to_string(&mut text).map(|_| text)
        };
        assert_eq!(body(0).unwrap(), "");
        assert_eq!(body(3).unwrap(), "0\r\n");
        assert_eq!(body(5).unwrap(), "0\r\n\r\n");
        assert_eq!(body(6).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_not_the_coding_is_an_error() {
        for bytes in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\na\r\n",
            "1\r\nab\r\n0\r\n\r\n",
            "11111111111111111\r\n",
        ] {
            let error = decode(bytes, 5).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
        let endless = "1".repeat(1 << 20);
        assert_eq!(decode(&endless, 4096).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
