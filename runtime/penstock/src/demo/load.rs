//! The demo's own load: a few keep-alive connections at a fixed rate, each answer checked.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::scene::PROOF;

/// Connections of the load, at most.
const CONNECTIONS: u32 = 16;
/// An answer that takes longer is wrong.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// A head of an answer has fewer lines.
const HEAD_LINES_MAX: usize = 100;

/// The load while it runs.
pub(crate) struct Load {
    going: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Report>>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Requests sent.
    pub(crate) asked: u64,
    /// Those that were answered as they should be.
    pub(crate) right: u64,
    /// The first that was not.
    pub(crate) wrong: Option<Wrong>,
}

/// What is wrong with an answer.
#[derive(Debug)]
pub(crate) enum Wrong {
    Io(io::Error),
    Status(String),
    Body(String),
    Filter,
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Wrong {
        Wrong::Io(error)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Io(error) => write!(f, "no answer: {error}"),
            Wrong::Status(line) => write!(f, "answered {line:?}"),
            Wrong::Filter => write!(f, "an answer that no filter has seen"),
            Wrong::Body(body) => write!(f, "the body of another request: {body:?}"),
        }
    }
}

impl Load {
    /// Sends `rate` requests a second to `address` until it is stopped.
    pub(crate) fn start(address: SocketAddr, rate: u32) -> Load {
        let going = Arc::new(AtomicBool::new(true));
        let count = CONNECTIONS.min(rate);
        let threads = (0..count).map(|number| {
            let going = Arc::clone(&going);
            let pace = Duration::from_secs(1) * count / rate;
            thread::spawn(move || ask_on(address, number, pace, &going))
        });
        Load { threads: threads.collect(), going }
    }

    /// Stops after the answers under way.
    pub(crate) fn stop(self) -> Report {
        self.going.store(false, Relaxed);
        let mut sum = Report::default();
        for thread in self.threads {
            let report = thread.join().unwrap_or_default();
            sum.asked += report.asked;
            sum.right += report.right;
            sum.wrong = sum.wrong.or(report.wrong);
        }
        sum
    }
}

/// Asks on one connection, once every `pace`, with a path that nobody else asks for.
fn ask_on(address: SocketAddr, number: u32, pace: Duration, going: &AtomicBool) -> Report {
    let (mut report, mut connection) = (Report::default(), None);
    let mut next = Instant::now() + pace.mul_f64(f64::from(number) / f64::from(CONNECTIONS));
    while going.load(Relaxed) {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        // A slow answer is not made up for by a burst.
        next = Instant::now().max(next + pace);
        report.asked += 1;
        let path = format!("/{number}/{}", report.asked);
        match exchange(&mut connection, address, &path) {
            Ok(()) => report.right += 1,
            Err(wrong) => {
                connection = None;
                report.wrong.get_or_insert(wrong);
            }
        }
    }
    report
}

/// One request and its answer, on the connection that is open or on a new one.
fn exchange(
    connection: &mut Option<BufReader<TcpStream>>,
    address: SocketAddr,
    path: &str,
) -> Result<(), Wrong> {
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_MAX))?;
            connection.insert(BufReader::new(stream))
        }
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes())?;
    let Head { status, length, last, proof } = read_head(stream)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    if last {
        *connection = None;
    }
    if !status.starts_with("HTTP/1.1 200 ") {
        return Err(Wrong::Status(status));
    }
    if !proof {
        return Err(Wrong::Filter);
    }
    let body = String::from_utf8_lossy(&body);
    match body.trim_end().ends_with(&format!(" answers {path}")) {
        true => Ok(()),
        false => Err(Wrong::Body(body.into_owned())),
    }
}

/// What there is to know of an answer's head.
#[derive(Default)]
struct Head {
    /// The first line.
    status: String,
    /// Bytes of the body.
    length: usize,
    /// The connection ends behind it.
    last: bool,
    /// A filter has seen it.
    proof: bool,
}

fn read_head(stream: &mut BufReader<TcpStream>) -> Result<Head, Wrong> {
    let mut head = Head::default();
    if stream.read_line(&mut head.status)? == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    for _ in 0..HEAD_LINES_MAX {
        let mut line = String::new();
        if stream.read_line(&mut line)? <= 2 {
            head.status.truncate(head.status.trim_end().len());
            return Ok(head);
        }
        head.proof |= line.trim_end().eq_ignore_ascii_case(PROOF);
        let (name, value) = line.trim_end().split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            head.length = value.trim().parse().unwrap_or_default();
        }
        head.last |= name.eq_ignore_ascii_case("connection") && value.trim() == "close";
    }
    Err(Wrong::Status("an endless head".to_owned()))
}
