//! Connections that have had one answer and then wait.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::BenchError;
use crate::run::REQUEST;

/// Keeps its connections open until dropped.
pub(crate) struct IdleLoad {
    streams: Vec<TcpStream>,
}

impl IdleLoad {
    /// Opens `count` connections to `address`, each with one request answered in full.
    pub(crate) fn open(address: SocketAddr, count: usize) -> Result<Self, BenchError> {
        let failed = |error| BenchError::io(format!("an idle connection to {address}"))(error);
        let mut streams = Vec::with_capacity(count);
        let mut input = [0; 4096];
        for _ in 0..count {
            let mut stream = TcpStream::connect(address).map_err(failed)?;
            stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(failed)?;
            stream.write_all(REQUEST).map_err(failed)?;
            let mut filled = 0;
            while !is_whole(&input[..filled]) {
                match stream.read(&mut input[filled..]).map_err(failed)? {
                    0 => return Err(failed(ErrorKind::UnexpectedEof.into())),
                    bytes => filled += bytes,
                }
            }
            streams.push(stream);
        }
        Ok(IdleLoad { streams })
    }

    /// How many connections the other side has not closed.
    pub(crate) fn still_open(&self) -> usize {
        let open = self.streams.iter().filter(|stream| {
            let quiet = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
            quiet.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        });
        open.count()
    }
}

/// Raises the soft limit of open files to the hard one, for us and for what we start.
pub(crate) fn raise_file_limit() -> Result<(), BenchError> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .map_err(|error| BenchError::io("raising the limit of open files")(error.into()))
}

/// Whether a head and the body it announces are there. The answer is our own origin's, with a
/// `Content-Length`, whatever fields the proxy added around it.
pub(crate) fn is_whole(input: &[u8]) -> bool {
    let Some(head_end) = input.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&input[..head_end]).to_ascii_lowercase();
    let body_bytes = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|text| text.trim().parse::<usize>().ok());
    body_bytes.is_some_and(|bytes| input.len() >= head_end + 4 + bytes)
}
