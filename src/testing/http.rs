//! HTTP/1.1 on one connection: requests in, answers out.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use httparse::Status;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::reply::Answer;

const HEAD_LIMIT: usize = 64 * 1024;
const READ_STEP: usize = 256 * 1024;
const MAX_HEADERS: usize = 128;

pub struct Connection {
    stream: TcpStream,
    /// Bytes that were read and not yet parsed.
    buffer: BytesMut,
}

/// A request's head.
pub struct Head {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    /// Whether the client keeps the connection open.
    pub keep_alive: bool,
    /// The announced length of the body. `None` if the body comes in chunks.
    pub length: Option<usize>,
}

/// Why no request could be read.
pub enum Unreadable {
    /// The client is gone.
    Gone,
    /// The request is not valid HTTP/1.1. The answer has this status.
    Malformed(u16),
    /// The body exceeds the limit. This is its announced size.
    TooLarge(usize),
}

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// Reads the next request's head.
    pub async fn head(&mut self) -> Result<Head, Unreadable> {
        self.parsed(431, Head::parse).await
    }

    /// Reads the body that belongs to the head just read.
    pub async fn body(&mut self, length: Option<usize>, limit: usize) -> Result<Bytes, Unreadable> {
        match length {
            Some(length) if length > limit => Err(Unreadable::TooLarge(length)),
            Some(length) => self.exactly(length).await,
            None => self.chunks(limit).await,
        }
    }

    /// Sends a whole answer, with its body if `with_body` is set.
    pub async fn send(&mut self, answer: &Answer, with_body: bool) -> io::Result<()> {
        let sent = if with_body { answer.body.len() } else { 0 };
        self.send_part(answer, sent).await
    }

    /// Sends the head, which promises the whole body, and this many bytes of the body.
    pub async fn send_part(&mut self, answer: &Answer, sent: usize) -> io::Result<()> {
        let length = answer.body.len();
        let mut message = format!("HTTP/1.1 {} \r\ncontent-length: {length}\r\n", answer.status);
        for (name, value) in &answer.headers {
            message.extend([name, ": ", value, "\r\n"]);
        }
        message.push_str("\r\n");
        let mut message = message.into_bytes();
        message.extend_from_slice(&answer.body[..sent]);
        self.stream.write_all(&message).await
    }

    /// Waits until the client closes the connection. Bytes that arrive meanwhile stay in the buffer.
    pub async fn client_gone(&mut self) {
        while self.read().await.is_ok() {}
    }

    /// Turns the next close into a reset.
    pub fn reset_on_close(&self) -> io::Result<()> {
        self.stream.set_zero_linger()
    }

    async fn chunks(&mut self, limit: usize) -> Result<Bytes, Unreadable> {
        let mut body = BytesMut::new();
        loop {
            let size = self.parsed(400, chunk_size).await?;
            if size == 0 {
                self.parsed(431, trailers).await?;
                return Ok(body.freeze());
            }
            let total = body.len().saturating_add(size);
            if total > limit {
                return Err(Unreadable::TooLarge(total));
            }
            body.extend_from_slice(&self.exactly(size).await?);
            self.exactly("\r\n".len()).await?;
        }
    }

    /// What `parse` makes of the coming bytes, which it must do within the head's limit; `too_long` says that it did not.
    async fn parsed<T>(
        &mut self,
        too_long: u16,
        parse: fn(&[u8]) -> httparse::Result<(usize, T)>,
    ) -> Result<T, Unreadable> {
        loop {
            let seen = self.buffer.len().min(HEAD_LIMIT);
            match parse(&self.buffer[..seen]) {
                Ok(Status::Complete((used, value))) => {
                    self.buffer.advance(used);
                    return Ok(value);
                }
                Ok(Status::Partial) if seen < HEAD_LIMIT => self.read().await?,
                Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                    return Err(Unreadable::Malformed(too_long));
                }
                Err(_) => return Err(Unreadable::Malformed(400)),
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> Result<Bytes, Unreadable> {
        while self.buffer.len() < length {
            // In steps, because the announced bytes may never arrive.
            let missing = length - self.buffer.len();
            self.buffer.reserve(missing.min(READ_STEP));
            self.read().await?;
        }
        Ok(self.buffer.split_to(length).freeze())
    }

    async fn read(&mut self) -> Result<(), Unreadable> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(1..) => Ok(()),
            Ok(0) | Err(_) => Err(Unreadable::Gone),
        }
    }
}

/// An answer that cannot be sent means that the client is gone.
impl From<io::Error> for Unreadable {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl Head {
    fn parse(bytes: &[u8]) -> httparse::Result<(usize, Self)> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let Status::Complete(used) = request.parse(bytes)? else {
            return Ok(Status::Partial);
        };
        let target = request.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut head = Self {
            method: request.method.unwrap_or_default().to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: Vec::with_capacity(request.headers.len()),
            keep_alive: request.version == Some(1),
            length: Some(0),
        };
        for header in request.headers {
            head.take(header.name, &String::from_utf8_lossy(header.value))?;
        }
        Ok(Status::Complete((used, head)))
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), httparse::Error> {
        let name = name.to_ascii_lowercase();
        match (name.as_str(), self.length) {
            ("connection", _) if value.eq_ignore_ascii_case("close") => self.keep_alive = false,
            ("transfer-encoding", _) if value.eq_ignore_ascii_case("chunked") => self.length = None,
            ("content-length", Some(_)) => {
                self.length = Some(value.parse().map_err(|_| httparse::Error::HeaderValue)?);
            }
            _ => {}
        }
        self.headers.push((name, value.to_owned()));
        Ok(())
    }
}

fn chunk_size(bytes: &[u8]) -> httparse::Result<(usize, usize)> {
    let size = httparse::parse_chunk_size(bytes).map_err(|_| httparse::Error::Token)?;
    let Status::Complete((used, size)) = size else { return Ok(Status::Partial) };
    // A size beyond the address space is beyond every limit.
    Ok(Status::Complete((used, usize::try_from(size).unwrap_or(usize::MAX))))
}

fn trailers(bytes: &[u8]) -> httparse::Result<(usize, ())> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let parsed = httparse::parse_headers(bytes, &mut headers)?;
    let Status::Complete((used, _)) = parsed else { return Ok(Status::Partial) };
    Ok(Status::Complete((used, ())))
}
