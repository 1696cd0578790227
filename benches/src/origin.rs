//! The origin that every proxy is measured in front of: HTTP/1.1, keep-alive, one fixed answer.
//!
//! One thread over epoll, one read and one write per request, so that it is never the bottleneck.
//! It counts ends of heads and reads no body: requests with a body, and peers that send without
//! reading, are not for it.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// Serves `listener` for ever with a body of `body_bytes` letters.
///
/// # Errors
/// Only what concerns the listener or the epoll set; a broken connection is dropped quietly.
pub fn serve(listener: &TcpListener, body_bytes: usize) -> io::Result<()> {
    let answer = answer(body_bytes);
    let ready = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&ready, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut connections = Connections::default();
    let mut events = Vec::with_capacity(EVENTS_MAX);
    let mut input = vec![0; INPUT_BYTES];
    loop {
        match epoll::wait(&ready, spare_capacity(&mut events), None) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result?,
        };
        for event in events.drain(..) {
            let token = event.data.u64();
            if token == LISTENER {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                let index = connections.insert(stream);
                let stream = connections.at(index).map(|connection| &connection.stream);
                if let Some(stream) = stream {
                    epoll::add(&ready, stream, EventData::new_u64(index as u64), EventFlags::IN)?;
                }
                continue;
            }
            let index = token as usize;
            let open = connections
                .at(index)
                .is_some_and(|connection| connection.serve(&mut input, &answer));
            if !open {
                connections.remove(index);
            }
        }
    }
}

/// One answer: head and body as they go out for each request.
fn answer(body_bytes: usize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: text/plain\r\n\
         Content-Length: {body_bytes}\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + body_bytes, b'x');
    answer
}

/// Open connections by index; closing the stream also takes it out of the epoll set.
#[derive(Default)]
struct Connections {
    slots: Vec<Option<Connection>>,
    free: Vec<usize>,
}

impl Connections {
    fn insert(&mut self, stream: TcpStream) -> usize {
        let connection = Some(Connection { stream, ends: HeadEnds::default() });
        match self.free.pop() {
            Some(index) => {
                self.slots[index] = connection;
                index
            }
            None => {
                self.slots.push(connection);
                self.slots.len() - 1
            }
        }
    }

    fn at(&mut self, index: usize) -> Option<&mut Connection> {
        self.slots.get_mut(index).and_then(Option::as_mut)
    }

    fn remove(&mut self, index: usize) {
        if self.slots.get_mut(index).and_then(Option::take).is_some() {
            self.free.push(index);
        }
    }
}

struct Connection {
    stream: TcpStream,
    ends: HeadEnds,
}

impl Connection {
    /// Answers every head that ends in the next read; false when the connection is over.
    fn serve(&mut self, input: &mut [u8], answer: &[u8]) -> bool {
        let count = match self.stream.read(input) {
            Ok(0) | Err(_) => return false,
            Ok(bytes) => self.ends.count(&input[..bytes]),
        };
        (0..count).all(|_| self.stream.write_all(answer).is_ok())
    }
}

/// Counts empty lines over a stream cut anywhere.
#[derive(Default)]
pub(crate) struct HeadEnds {
    matched: usize,
}

impl HeadEnds {
    /// How many heads end within `bytes`.
    pub(crate) fn count(&mut self, bytes: &[u8]) -> usize {
        let mut count = 0;
        for &byte in bytes {
            self.matched = match (byte, self.matched) {
                (b'\r', 2) => 3,
                (b'\r', _) => 1,
                (b'\n', 1) => 2,
                (b'\n', 3) => {
                    count += 1;
                    0
                }
                _ => 0,
            };
        }
        count
    }
}

/// The token of the listener: no index of a connection gets there.
const LISTENER: u64 = u64::MAX;
/// More than the connections of the widest scenario that can be ready at once matter little.
const EVENTS_MAX: usize = 512;
/// Some eight wrk requests of 40-200 bytes with what a proxy adds; more come in a second read.
const INPUT_BYTES: usize = 4096;
