//! A client by hand: whole requests in, whole answers out.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// A keep-alive connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        Client { stream: BufReader::new(stream) }
    }

    /// Its own end, as the other end sees it.
    pub fn source(&self) -> SocketAddr {
        self.stream.get_ref().local_addr().expect("an address")
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Asks for a path and reads the answer.
    pub fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n\r\n"))?;
        self.reply()
    }

    /// Reads an answer.
    pub fn reply(&mut self) -> io::Result<Reply> {
        read_reply(&mut self.stream)
    }

    /// Whether the other end has closed, waiting for it.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        matches!(self.stream.read_to_end(&mut rest), Ok(0))
            || matches!(self.stream.read_to_end(&mut rest), Err(error)
                if error.kind() == io::ErrorKind::ConnectionReset)
    }
}

/// Sends `request` on a new connection and reads one answer; whether the connection closed then.
pub fn talk(address: SocketAddr, request: impl AsRef<[u8]>) -> (io::Result<Reply>, bool) {
    let mut client = Client::connect(address);
    let sent = client.send(request);
    let reply = sent.and_then(|()| client.reply());
    let millis = std::time::Duration::from_millis(300);
    client.stream.get_mut().set_read_timeout(Some(millis)).expect("an option");
    (reply, client.is_closed())
}

/// Reads an answer with a length, or chunked.
fn read_reply(stream: &mut impl BufRead) -> io::Result<Reply> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let bad = || io::Error::other(format!("not an answer: {head}"));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(bad)?;
    let lower = head.to_ascii_lowercase();
    let mut body = Vec::new();
    let length = lower.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.lines().next());
    if let Some(length) = length.and_then(|length| length.trim().parse().ok()) {
        body.resize(length, 0);
        stream.read_exact(&mut body)?;
    } else if lower.contains("transfer-encoding: chunked") {
        read_chunks(stream, &mut body)?;
    }
    Ok(Reply { status, head, body: String::from_utf8_lossy(&body).into_owned() })
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk)?;
        if size == 0 {
            return Ok(());
        }
        body.extend_from_slice(&chunk[..size]);
    }
}
