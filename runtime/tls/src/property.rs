//! What holds for an open TLS 1.3 session whatever its peer sends: for tests, and fuzzing.

use crate::{Received, Refusal, Session};

const APPLICATION_DATA: u8 = 23;
/// Handshakes take three flights, tickets a fourth.
const FLIGHTS_MAX: usize = 5;
/// Long content is so many times as long as the script says: over the limit of a record.
const LONG_BYTES: usize = 80;

/// Makes the handshake of two sessions, and has the client do what `script` says: records of any
/// type and content, properly sealed; changes of keys; noise and flipped bits; all of it cut
/// anywhere, with answers of the server between.
///
/// # Panics
/// When the server reads what was not sent, goes on after an error, or says what the client
/// can't read.
pub fn check_session(mut client: Session, mut server: Session, script: &[u8]) {
    meet(&mut client, &mut server);
    let mut wire = Wire { client, server, up: Vec::new(), sent: Vec::new(), read: Vec::new() };
    let mut script = Script(script);
    while let Some((step, size)) = script.pair() {
        match step % 8 {
            0 => wire.seal(APPLICATION_DATA, script.take(size)),
            1 => wire.seal(APPLICATION_DATA, &vec![size; usize::from(size) * LONG_BYTES]),
            2 => wire.seal(step / 8, script.take(size)),
            3 => wire.client.traffic().change_key(&mut wire.up),
            4 => wire.up.extend_from_slice(script.take(size)),
            5 => wire.flip(size),
            6 => wire.answer(script.take(size)),
            _ => wire.deliver(usize::from(step) * usize::from(size)),
        }
    }
    wire.deliver(usize::MAX);
}

/// Both sides, and what is between them.
struct Wire {
    client: Session,
    server: Session,
    /// Not yet delivered.
    up: Vec<u8>,
    /// Data that was sealed, and that the server has read.
    sent: Vec<u8>,
    read: Vec<u8>,
}

impl Wire {
    fn seal(&mut self, kind: u8, content: &[u8]) {
        // RFC 8446 §5.4: zeros are padding, and the type is what is in front of them.
        let inner = [content, &[kind]].concat();
        let padded = inner.iter().rposition(|&byte| byte != 0).map(|at| inner.split_at(at));
        if let Some((data, &[APPLICATION_DATA, ..])) = padded {
            self.sent.extend_from_slice(data);
        }
        self.client.traffic().seal_raw(kind, content, &mut self.up);
    }

    fn flip(&mut self, at: u8) {
        let length = self.up.len();
        if let Some(byte) = self.up.get_mut(usize::from(at) % length.max(1)) {
            *byte ^= 1 << (at % 8);
        }
    }

    fn deliver(&mut self, bytes_max: usize) {
        let bytes: Vec<u8> = self.up.drain(..bytes_max.min(self.up.len())).collect();
        let (was_over, mut told) = (self.server.is_over(), Vec::new());
        let received = self.server.receive(&bytes, &mut self.read, &mut told);
        assert_eq!(received.is_err(), self.server.is_over(), "an error ends it");
        assert!(!was_over || (received.is_err() && told.is_empty()), "and is the last word");
        assert!(self.sent.starts_with(&self.read), "nothing is read that was not sent");
        self.hear(&told, b"");
    }

    /// The server sends data, where it still may.
    fn answer(&mut self, plain: &[u8]) {
        let mut down = Vec::new();
        match self.server.seal(plain, &mut down) {
            Ok(()) => self.hear(&down, plain),
            Err(_) => assert!(self.server.is_over() && down.is_empty()),
        }
    }

    /// The client understands what the server says: this data, or an alert.
    fn hear(&mut self, down: &[u8], expected: &[u8]) {
        let (mut plain, mut none) = (Vec::new(), Vec::new());
        if down.is_empty() || self.client.is_over() {
            return;
        }
        match self.client.receive(down, &mut plain, &mut none) {
            Ok(_) => assert_eq!(plain, expected),
            Err(error) => assert_eq!(error.refusal, Refusal::Alert, "{error}"),
        }
        assert!(none.is_empty(), "nothing is answered before there is data to send");
    }
}

fn meet(client: &mut Session, server: &mut Session) {
    let (mut up, mut down, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    let mut open = false;
    for _ in 0..FLIGHTS_MAX {
        let heard = client.receive(&std::mem::take(&mut down), &mut plain, &mut up);
        open = heard.expect("the certificate is good") == Received::Open;
        let taken = server.receive(&std::mem::take(&mut up), &mut plain, &mut down);
        open &= taken.expect("so is the client") == Received::Open && down.is_empty();
    }
    assert!(open && plain.is_empty(), "a handshake ends");
    client.settle(&mut up);
    server.settle(&mut down);
    assert!(up.is_empty() && down.is_empty(), "nothing of it waits");
}

/// What is left of a script.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn pair(&mut self) -> Option<(u8, u8)> {
        let (&[step, size], rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some((step, size))
    }

    fn take(&mut self, size: u8) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(usize::from(size).min(self.0.len()));
        self.0 = rest;
        taken
    }
}
