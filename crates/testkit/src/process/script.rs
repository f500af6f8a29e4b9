//! [`Script`]: somebody who asks a server by HTTP/1.1, with a connection of its own for each request.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

use super::{Outcome, Server};

/// Asks for as much as it may; bodies of any length pass through it.
#[derive(Clone)]
pub struct Script {
    address: String,
    secret: String,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// From 100 to 599.
    pub status: u16,
    /// Status line and header, as they came.
    pub head: String,
    /// Empty where it went elsewhere.
    pub body: Vec<u8>,
}

impl Script {
    /// A script with a new API token of the server's first account.
    ///
    /// # Errors
    /// When the server makes none.
    pub fn new(server: &Server, name: &str) -> Outcome<Self> {
        let token = server.admin(&["token", "add", name, "--scope", "restore"])?.wait()?.succeeded()?;
        let secret = token.last().and_then(|item| item["secret"].as_str()).ok_or("the server told no token")?;
        Ok(Self { address: server.address()?, secret: secret.to_owned() })
    }

    /// The header that it logs in with, for other programs.
    #[must_use]
    pub fn authorization(&self) -> String {
        format!("Authorization: Bearer {}", self.secret)
    }

    /// Where a path of the server is, for other programs.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Asks with a body from memory.
    ///
    /// # Errors
    /// When no answer comes, or one whose status is not 2xx.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Outcome<Answer> {
        self.send(method, path, headers, &mut &body[..], body.len() as u64)
    }

    /// Asks with a body of `len` bytes from wherever it is.
    ///
    /// # Errors
    /// As for [`ask`](Self::ask).
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &mut dyn Read,
        len: u64,
    ) -> Outcome<Answer> {
        let mut kept = Vec::new();
        let answer = self.talk(method, path, headers, (body, len), &mut kept)?;
        Ok(Answer { body: kept, ..answer })
    }

    /// Gets a body of any length, which goes to `out`.
    ///
    /// # Errors
    /// As for [`ask`](Self::ask), and when it is cut off.
    pub fn fetch(&self, path: &str, out: &mut dyn Write) -> Outcome<Answer> {
        self.talk("GET", path, &[], (&mut io::empty(), 0), out)
    }

    /// Sends the head of a request and `sent_len` bytes of its body, and goes away.
    ///
    /// # Errors
    /// When the server goes away before.
    pub fn break_off(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        (body, len): (&mut dyn Read, u64),
        sent_len: u64,
    ) -> io::Result<()> {
        let mut stream = self.begin(method, path, headers, len)?;
        io::copy(&mut body.take(sent_len.min(len)), &mut stream)?;
        stream.shutdown(Shutdown::Both)
    }

    fn talk(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        (body, len): (&mut dyn Read, u64),
        out: &mut dyn Write,
    ) -> Outcome<Answer> {
        let what = |error: io::Error| format!("{method} {path}: {error}");
        let mut stream = self.begin(method, path, headers, len).map_err(what)?;
        // A server that refuses early does not read the rest; what it says then is what counts.
        let sent = io::copy(&mut body.take(len), &mut stream);
        let answer = read(&mut BufReader::new(stream), method, out);
        let answer = answer.map_err(|error| what(sent.err().unwrap_or(error)))?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        Err(format!("{method} {path}: {}{}", answer.head, String::from_utf8_lossy(&answer.body)))
    }

    fn begin(&self, method: &str, path: &str, headers: &[(&str, &str)], len: u64) -> io::Result<TcpStream> {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        let (address, secret) = (&self.address, &self.secret);
        stream.write_all(
            format!(
                "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {secret}\r\n\
                 Content-Length: {len}\r\n{headers}\r\n"
            )
            .as_bytes(),
        )?;
        Ok(stream)
    }
}

impl Answer {
    /// What a header says, the first where there are several.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

fn read(stream: &mut impl BufRead, method: &str, out: &mut dyn Write) -> io::Result<Answer> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended before the answer"));
        }
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("this is no HTTP: {head}")))?;
    let mut answer = Answer { status, head, body: Vec::new() };
    if method == "HEAD" {
        return Ok(answer);
    }
    let len = answer.header("content-length").and_then(|len| len.parse().ok());
    let Some(len) = len.or((answer.status == 204).then_some(0)) else {
        return Err(io::Error::other(format!("the answer does not say how long it is: {}", answer.head)));
    };
    let copied = if (200..300).contains(&answer.status) {
        io::copy(&mut stream.take(len), out)?
    } else {
        stream.take(len).read_to_end(&mut answer.body)? as u64
    };
    if copied < len {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{copied} of {len} bytes came")));
    }
    Ok(answer)
}
