//! Connections that have had one answer and then wait.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use penstock_tls::{
    Connector, ConnectorSettings, DefaultTimeProvider, Dialer, Received, Revocations, Verify,
    Version, Versions,
};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::run::REQUEST;
use crate::{BenchError, Spoken};

/// Keeps its connections open until dropped.
pub(crate) struct IdleLoad {
    streams: Vec<TcpStream>,
}

impl IdleLoad {
    /// Opens `count` connections to `address`, each with one request answered in full.
    pub(crate) fn open(
        address: SocketAddr,
        count: usize,
        spoken: Spoken,
    ) -> Result<Self, BenchError> {
        let dialer = match spoken {
            Spoken::Tls => Some(dialer(Version::Tls13)?),
            Spoken::Tls12 => Some(dialer(Version::Tls12)?),
            _ => None,
        };
        let failed = |error| BenchError::io(format!("an idle connection to {address}"))(error);
        let mut streams = Vec::with_capacity(count);
        for number in 0..count {
            let mut stream = connection(number, address).map_err(failed)?;
            stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(failed)?;
            let asked = match &dialer {
                Some(dialer) => ask_sealed(&mut stream, dialer),
                None if spoken.is_http2() => ask_http2(&mut stream),
                None => ask_plain(&mut stream),
            };
            asked.map_err(failed)?;
            streams.push(stream);
        }
        Ok(IdleLoad { streams })
    }

    /// How many connections the other side has not closed. What it has said besides (tickets,
    /// settings) is no matter.
    pub(crate) fn still_open(&self) -> usize {
        let mut input = [0; 4096];
        let open = self.streams.iter().filter(|stream| {
            let quiet = stream.set_nonblocking(true).and_then(|()| {
                let mut stream: &TcpStream = stream;
                while stream.read(&mut input)? > 0 {}
                Ok(())
            });
            quiet.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        });
        open.count()
    }
}

/// One address has ports for 28,000 connections to another; and proxies limit each source.
fn connection(number: usize, address: SocketAddr) -> io::Result<TcpStream> {
    let SocketAddr::V4(_) = address else { return TcpStream::connect(address) };
    let source = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + (number / PER_SOURCE) as u32);
    let socket: OwnedFd = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((source, 0)))?;
    connect(&socket, &address)?;
    Ok(socket.into())
}

const PER_SOURCE: usize = 4_000;

fn ask_plain(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(REQUEST)?;
    let (mut input, mut filled) = ([0; 4096], 0);
    while !is_whole(&input[..filled]) {
        match stream.read(&mut input[filled..])? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            bytes => filled += bytes,
        }
    }
    Ok(())
}

/// The client's side of TLS, which verifies nothing.
fn dialer(version: Version) -> Result<Dialer, BenchError> {
    let connector = Connector::new(ConnectorSettings {
        verify: Verify::Nothing,
        revocations: Revocations::default(),
        server_name: Some("bench".to_owned()),
        certificate: None,
        versions: Versions::Only(version),
        protocols: Vec::new(),
        clock: std::sync::Arc::new(DefaultTimeProvider),
    });
    let connector = connector.map_err(|error| BenchError::io("TLS")(io::Error::other(error)))?;
    Ok(connector.dialer())
}

fn ask_sealed(stream: &mut TcpStream, dialer: &Dialer) -> io::Result<()> {
    let mut session = dialer.begin(None).map_err(io::Error::other)?;
    let (mut plain, mut out, mut input) = (Vec::new(), Vec::new(), [0; 4096]);
    let (mut bytes, mut is_asked) = (0, false);
    loop {
        let received = session.receive(&input[..bytes], &mut plain, &mut out);
        if received.map_err(io::Error::other)? == Received::Open && !is_asked {
            session.seal(REQUEST, &mut out).map_err(io::Error::other)?;
            is_asked = true;
        }
        stream.write_all(&out)?;
        out.clear();
        if is_whole(&plain) {
            return Ok(());
        }
        bytes = stream.read(&mut input)?;
        if bytes == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The same request with prior knowledge (RFC 9113 §3.3), as frames by hand.
fn ask_http2(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(HTTP2_REQUEST)?;
    let mut input = Vec::new();
    loop {
        let mut more = [0; 4096];
        match stream.read(&mut more)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            bytes => input.extend_from_slice(&more[..bytes]),
        }
        // RFC 9113 §4.1: length, type, flags, stream.
        while let [a, b, c, kind, flags, rest @ ..] = &*input {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if rest.len() < 4 + length {
                break;
            }
            let (kind, flags) = (*kind, *flags);
            input.drain(..9 + length);
            match kind {
                SETTINGS if flags & 1 == 0 => stream.write_all(SETTINGS_ACK)?,
                DATA | HEADERS if flags & END_STREAM != 0 => return Ok(()),
                RST_STREAM | GOAWAY => return Err(io::Error::other("the request is refused")),
                _ => {}
            }
        }
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const SETTINGS_ACK: &[u8] = &[0, 0, 0, SETTINGS, 1, 0, 0, 0, 0];
/// The preface, SETTINGS without any, and the head: by RFC 7541's static table GET, http, / and
/// the authority `bench`.
const HTTP2_REQUEST: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \0\0\0\x04\0\0\0\0\0\
    \0\0\x0a\x01\x05\0\0\0\x01\x82\x86\x84\x41\x05bench";

/// Raises the soft limit of open files to the hard one, for us and for what we start.
pub(crate) fn raise_file_limit() -> Result<(), BenchError> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .map_err(|error| BenchError::io("raising the limit of open files")(error.into()))
}

/// Whether that does for so many connections through a proxy: most reckon with two files each.
pub(crate) fn check_file_limit(connections: usize) -> Result<(), BenchError> {
    let needed = 2 * connections + OTHER_FILES;
    match getrlimit(Resource::Nofile).maximum.filter(|max| *max < needed as u64) {
        Some(max) => Err(BenchError::TooFewFiles { max, needed }),
        None => Ok(()),
    }
}

/// Beside connections; HAProxy reckons with some hundred.
const OTHER_FILES: usize = 1_000;

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
