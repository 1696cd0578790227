//! The demo's origins: HTTP/1.1 by hand on plain threads. One is slow, one fails now and then.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

/// What the slow one takes for an answer.
const SLOW: Duration = Duration::from_millis(20);
/// The flaky one cuts the connection instead of every so-manieth answer.
const FLAKY_EVERY: u64 = 20;
/// An origin's thread needs little.
const STACK_BYTES: usize = 256 * 1024;

/// How an origin behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Quick,
    Slow,
    Flaky,
}

impl Manner {
    fn name(self) -> &'static str {
        match self {
            Manner::Quick => "quick",
            Manner::Slow => "slow",
            Manner::Flaky => "flaky",
        }
    }
}

/// The three of them. Their threads end with the process.
pub(crate) struct Origins {
    all: Vec<(Manner, SocketAddr)>,
}

impl Origins {
    /// Starts them on ports that the kernel chooses.
    ///
    /// # Errors
    /// No port or no thread is to be had.
    pub(crate) fn start() -> io::Result<Origins> {
        let mut all = Vec::new();
        for manner in [Manner::Quick, Manner::Slow, Manner::Flaky] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            all.push((manner, listener.local_addr()?));
            let served = Arc::new(AtomicU64::new(0));
            spawn(move || {
                for stream in listener.incoming().flatten() {
                    let served = Arc::clone(&served);
                    // One connection fewer is what a busy origin gives, too.
                    let _ = spawn(move || {
                        let _ = serve(manner, stream, &served);
                    });
                }
            })?;
        }
        Ok(Origins { all })
    }

    /// Where they listen.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.all.iter().map(|(_, address)| *address)
    }

    /// The name of the one at `address`.
    pub(crate) fn name_of(&self, address: &str) -> &'static str {
        let found = self.all.iter().find(|(_, known)| known.to_string() == address);
        found.map_or("?", |(manner, _)| manner.name())
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name("demo-origin".to_owned()).stack_size(STACK_BYTES);
    thread.spawn(work).map(drop)
}

/// Answers what comes on one connection. The demo's load sends no bodies; a request with one
/// ends the connection after its answer.
fn serve(manner: Manner, mut stream: TcpStream, served: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (mut first, mut line, mut body) = (String::new(), String::new(), false);
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        while reader.read_line(&mut line)? > 2 {
            let name = line.split(':').next().unwrap_or_default();
            body |= ["content-length", "transfer-encoding"]
                .iter()
                .any(|framing| name.eq_ignore_ascii_case(framing));
            line.clear();
        }
        let number = served.fetch_add(1, Relaxed) + 1;
        match manner {
            Manner::Slow => thread::sleep(SLOW),
            // Before the first byte of an answer: whoever asks may ask somebody else.
            Manner::Flaky if number.is_multiple_of(FLAKY_EVERY) => return Ok(()),
            Manner::Quick | Manner::Flaky => {}
        }
        let path = first.split(' ').nth(1).unwrap_or("?");
        let text = format!("{} answers {path}\n", manner.name());
        let last = if body { "Connection: close\r\n" } else { "" };
        let head = first.starts_with("HEAD ");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{last}\r\n{}",
            text.len(),
            if head { "" } else { &text },
        );
        stream.write_all(answer.as_bytes())?;
        if body {
            return Ok(());
        }
    }
}
