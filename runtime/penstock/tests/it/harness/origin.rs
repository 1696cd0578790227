//! An origin by hand: what it is asked is kept, what it answers is the test's.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// An origin on a port of its own; its threads end with the tests.
pub struct Origin {
    pub address: SocketAddr,
    heads: Receiver<String>,
}

impl Origin {
    /// Answers every request with what `answer` makes of its head.
    pub fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Origin {
        Origin::reading(move |head, _| answer(head))
    }

    /// Answers every request with what `answer` makes of its head and body.
    pub fn reading(answer: impl Fn(&str, &str) -> String + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sender, heads) = channel();
        let answer: Arc<Answer> = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, sender) = (Arc::clone(&answer), sender.clone());
                std::thread::spawn(move || serve(stream, &*answer, &sender));
            }
        });
        Origin { address, heads }
    }

    /// One that says 200 with its name.
    pub fn named(name: &'static str) -> Origin {
        Origin::start(move |_| ok(name))
    }

    /// One that takes its time.
    pub fn slow(time: Duration) -> Origin {
        Origin::start(move |_| {
            std::thread::sleep(time);
            ok("slow")
        })
    }

    /// A config with one listener, `web`, in front of it.
    pub fn config(&self) -> String {
        config_of(&[self.address])
    }

    /// The next head that came in; none if there is none within 50 ms.
    pub fn head(&self) -> Option<String> {
        self.heads.recv_timeout(Duration::from_millis(50)).ok()
    }
}

type Answer = dyn Fn(&str, &str) -> String + Send + Sync;

/// A config with one listener, `web`, in front of these.
pub fn config_of(origins: &[SocketAddr]) -> String {
    let endpoints: Vec<String> = origins.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "[listener.web]\naddress = \"127.0.0.1:0\"\nto = \"app\"\n\n[cluster.app]\n\
         endpoints = [{}]\n",
        endpoints.join(", ")
    )
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn serve(stream: TcpStream, answer: &Answer, heads: &Sender<String>) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let _ = writer.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match reader.read_line(&mut head) {
                Ok(1..) => {}
                _ => return,
            }
        }
        let Ok(body) = read_body(&mut reader, &head) else { return };
        let reply = answer(&head, &String::from_utf8_lossy(&body));
        // The test may have looked and gone.
        let _ = heads.send(head);
        if writer.write_all(reply.as_bytes()).is_err() || !reply.starts_with("HTTP/1.1") {
            return;
        }
    }
}

/// The body behind a head, without what frames it and without its trailers.
fn read_body(reader: &mut BufReader<TcpStream>, head: &str) -> io::Result<Vec<u8>> {
    let lower = head.to_ascii_lowercase();
    let length = lower.split("\r\ncontent-length:").nth(1).and_then(|rest| rest.lines().next());
    let mut body = Vec::new();
    if let Some(length) = length.and_then(|length| length.trim().parse().ok()) {
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
    } else if lower.contains("\r\ntransfer-encoding: chunked") {
        loop {
            let line = line(reader)?;
            let size = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
            if size == 0 {
                break;
            }
            let begin = body.len();
            body.resize(begin + size, 0);
            reader.read_exact(&mut body[begin..])?;
            self::line(reader)?;
        }
        while !line(reader)?.is_empty() {}
    }
    Ok(body)
}

fn line(reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    match reader.read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}
