//! One connection's TLS: received bytes in, plain bytes out, and the other way round.
//!
//! rustls makes the handshake (`machine`), and of TLS 1.3 the records behind it are made here
//! (`traffic`), so that an idle session is its keys and little more. A partly received record
//! waits in `incoming`, which the owner lends and gets back as soon as it is empty.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::{AlertDescription, CommonState, Error, HandshakeKind};

use crate::explain::{Refusal, explain};
use crate::identity::{Identity, Telling};
use crate::keys::FRAGMENT_BYTES_MAX;
use crate::machine::{Heard, Machine, Step};
use crate::suites::Suite;
use crate::traffic::{Opened, Traffic};

/// Header, nonce, tag, content type: 29 bytes at most, with room for a key update before it.
const RECORD_OVERHEAD: usize = 128;

/// A TLS session, on either side.
pub struct Session {
    side: Side,
    /// Received and not yet processed, from `at` on.
    incoming: Vec<u8>,
    at: usize,
    heard: Heard,
    /// The records are to be made here as soon as nothing waits.
    settles: bool,
    /// What ended it.
    over: Option<Box<SessionError>>,
}

enum Side {
    /// In its handshake, or open in TLS 1.2.
    Machine(Machine),
    /// Open in TLS 1.3.
    Traffic(Box<Traffic>),
    /// Neither: what was open could not be gone on with.
    Over,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The handshake needs more of the peer's bytes.
    Handshaking,
    /// Plain bytes may go both ways.
    Open,
    /// The peer has said that nothing comes any more.
    Closed,
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionError {
    /// Its kind.
    pub refusal: Refusal,
    /// A sentence about it.
    pub reason: String,
}

impl SessionError {
    pub(crate) fn nameless() -> SessionError {
        let reason = "an endpoint without an IP address needs a configured name".to_owned();
        SessionError { refusal: Refusal::UnknownName, reason }
    }
}

impl From<Error> for SessionError {
    fn from(error: Error) -> SessionError {
        let (refusal, reason) = explain(&error);
        SessionError { refusal, reason }
    }
}

impl std::fmt::Display for SessionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for SessionError {}

/// What was agreed on in the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The cipher suite, and with it the version.
    pub suite: Suite,
    /// The name that the downstream asked for.
    pub server_name: Option<Box<str>>,
    /// Whether HTTP/2 was agreed on (RFC 9113 §3.2).
    pub http2: bool,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Who the downstream is, if it presented a certificate.
    pub client: Option<Box<Identity>>,
}

impl Session {
    pub(crate) fn of_server(connection: UnbufferedServerConnection) -> Session {
        Session::new(Machine::Server(Box::new(connection)))
    }

    pub(crate) fn of_client(connection: UnbufferedClientConnection) -> Session {
        Session::new(Machine::Client(Box::new(connection)))
    }

    fn new(machine: Machine) -> Session {
        Session {
            side: Side::Machine(machine),
            incoming: Vec::new(),
            at: 0,
            heard: Heard::default(),
            settles: false,
            over: None,
        }
    }

    /// From now on an open session takes little memory: of TLS 1.3 the records are made here,
    /// once nothing of the handshake waits. What has to be sent before that is added to `out`.
    /// [`Session::facts`] and [`Session::protocol`] are asked for before.
    pub fn settle(&mut self, out: &mut Vec<u8>) {
        self.settles = true;
        // A part of a message, which rustls has opened already, would be lost.
        if self.holds_bytes() || self.heard.closed || self.is_over() {
            return;
        }
        let Side::Machine(machine) = &mut self.side else { return };
        if !machine.is_open_in_tls13() {
            return;
        }
        // An answer to a change of keys comes only in front of data: this asks for room that is
        // not there, and what comes first is to be sent then.
        let _ = machine.write(&mut [], Some(&[0]), &mut []);
        if let Err(error) = self.flush(out) {
            self.end(error, out);
            return;
        }
        let Side::Machine(machine) = std::mem::replace(&mut self.side, Side::Over) else { return };
        match machine.into_traffic() {
            Ok(traffic) => self.side = Side::Traffic(Box::new(traffic)),
            Err(error) => self.over = Some(Box::new(error.into())),
        }
    }

    /// Takes bytes of the peer (none at all to begin a handshake of our own). Plain bytes are
    /// added to `plain`, and what has to be sent to `out`, in order with what [`Session::seal`]
    /// writes.
    ///
    /// # Errors
    /// The session is over; `out` may end in an alert that tells the peer why. Plain bytes in
    /// front of the error are in `plain`.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Received, SessionError> {
        if let Some(error) = &self.over {
            return Err(SessionError::clone(error));
        }
        if let Side::Traffic(_) = &self.side {
            return self.open(bytes, plain, out);
        }
        self.incoming.extend_from_slice(bytes);
        let received = loop {
            match self.step(plain, out) {
                Ok(Step::More) => {}
                Ok(Step::Received(received)) => break received,
                Err(error) => return Err(self.end(error, out)),
            }
        };
        self.tidy();
        if self.settles {
            self.settle(out);
        }
        Ok(received)
    }

    /// The same, of an open session in TLS 1.3.
    fn open(
        &mut self,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Received, SessionError> {
        let Side::Traffic(traffic) = &mut self.side else { return Ok(Received::Closed) };
        // RFC 8446 §6.1: what comes behind a close_notify is ignored.
        if self.heard.closed {
            return Ok(Received::Closed);
        }
        let Opened { used_bytes, closed } = match self.incoming.is_empty() {
            true => {
                let opened = traffic.open(bytes, plain);
                self.incoming.extend_from_slice(&bytes[opened.used_bytes..]);
                Opened { used_bytes: 0, ..opened }
            }
            false => {
                self.incoming.extend_from_slice(bytes);
                traffic.open(&self.incoming[self.at..], plain)
            }
        };
        self.at += used_bytes;
        match closed {
            Ok(closed) => {
                self.tidy();
                self.heard.closed = closed;
                Ok(if closed { Received::Closed } else { Received::Open })
            }
            Err(fault) => {
                if let Some(alert) = fault.alert {
                    traffic.seal_alert(alert, out);
                }
                Err(self.finish(fault.error))
            }
        }
    }

    /// Forgets the bytes that are done with.
    fn tidy(&mut self) {
        if self.at == self.incoming.len() {
            self.incoming.clear();
            self.at = 0;
        } else if self.at >= FRAGMENT_BYTES_MAX {
            self.incoming.drain(..self.at);
            self.at = 0;
        }
    }

    /// Keeps bytes of the peer for the next call of [`Session::receive`].
    pub fn push(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
    }

    /// What carries an open session, once it has settled.
    #[cfg(any(test, feature = "property"))]
    pub(crate) fn traffic(&mut self) -> &mut Traffic {
        match &mut self.side {
            Side::Traffic(traffic) => traffic,
            Side::Machine(_) | Side::Over => panic!("it has not settled"),
        }
    }

    /// The name that the downstream asked for, as soon as it has.
    pub fn server_name(&self) -> Option<&str> {
        self.heard.server_name.as_deref()
    }

    /// Whether an error has ended it.
    pub fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Whether bytes of the peer wait here for more of them.
    pub fn holds_bytes(&self) -> bool {
        self.at < self.incoming.len()
    }

    /// Lends a buffer for the bytes of the next calls, if there is none.
    pub fn lend(&mut self, buffer: impl FnOnce() -> Vec<u8>) {
        if self.incoming.capacity() == 0 {
            self.incoming = buffer();
            self.incoming.clear();
        }
    }

    /// Gives the lent buffer back, if nothing waits in it.
    pub fn give_back(&mut self) -> Option<Vec<u8>> {
        let idle = !self.holds_bytes() && self.incoming.capacity() > 0;
        idle.then(|| std::mem::take(&mut self.incoming))
    }

    /// Adds `plain` to `out`, in records.
    ///
    /// # Errors
    /// The session is not open, or its keys are used up.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), SessionError> {
        if let Some(error) = &self.over {
            return Err(SessionError::clone(error));
        }
        if let Side::Traffic(traffic) = &mut self.side {
            let sealed = traffic.seal(plain, out);
            return sealed.map_err(|error| self.finish(error));
        }
        for fragment in plain.chunks(FRAGMENT_BYTES_MAX) {
            if !self.seal_fragment(fragment, out)? {
                // Something of the protocol's own goes first: a key update.
                if let Err(error) = self.flush(out) {
                    return Err(self.end(error, out));
                }
                if !self.seal_fragment(fragment, out)? {
                    return Err(Error::HandshakeNotComplete.into());
                }
            }
        }
        Ok(())
    }

    fn seal_fragment(&mut self, fragment: &[u8], out: &mut Vec<u8>) -> Result<bool, Error> {
        let start = out.len();
        out.resize(start + fragment.len() + RECORD_OVERHEAD, 0);
        let written = self.write(Some(fragment), &mut out[start..]);
        out.truncate(start + written.as_ref().ok().copied().flatten().unwrap_or(0));
        Ok(written?.is_some())
    }

    /// Adds our close_notify to `out`: nothing can be sealed behind it (RFC 8446 §6.1).
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if self.is_over() {
            return;
        }
        if let Side::Traffic(traffic) = &mut self.side {
            return traffic.seal_alert(AlertDescription::CloseNotify, out);
        }
        if let Err(error) = self.flush(out) {
            self.end(error, out);
            return;
        }
        let start = out.len();
        out.resize(start + RECORD_OVERHEAD, 0);
        let written = self.write(None, &mut out[start..]);
        out.truncate(start + written.ok().flatten().unwrap_or(0));
    }

    /// The protocol that was agreed on, by its ALPN name, as long as the session has not settled.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.common()?.alpn_protocol()
    }

    /// What was agreed on, with `tellings` of who the downstream is; the name that it asked for
    /// is kept there from now on. `None` before the handshake is over, and of a settled session.
    pub fn facts(&mut self, tellings: &[Telling]) -> Option<Facts> {
        let named = self.heard.server_name.take();
        let Side::Machine(machine) = &self.side else { return None };
        let common = machine.common();
        let suite = Suite::of(common.negotiated_cipher_suite()?);
        let (server_name, client) = match machine {
            Machine::Server(_) => {
                let chain = common.peer_certificates();
                (named, chain.and_then(|chain| Identity::of(chain, tellings)))
            }
            Machine::Client(_) => (None, None),
        };
        Some(Facts {
            suite,
            server_name,
            http2: common.alpn_protocol() == Some(b"h2"),
            resumed: common.handshake_kind() == Some(HandshakeKind::Resumed),
            client: client.map(Box::new),
        })
    }

    fn common(&self) -> Option<&CommonState> {
        match &self.side {
            Side::Machine(machine) => Some(machine.common()),
            Side::Traffic(_) | Side::Over => None,
        }
    }

    /// One state of rustls' machine.
    fn step(&mut self, plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<Step, Error> {
        let Side::Machine(machine) = &mut self.side else {
            return Err(Error::HandshakeNotComplete);
        };
        let incoming = &mut self.incoming[self.at..];
        let (discard, step) = machine.step(incoming, &mut self.heard, plain, out);
        self.at += discard;
        step
    }

    /// Ends the session after an error, with the alert that tells the peer. rustls takes no call
    /// after one but for that: it would look at the same bytes again.
    fn end(&mut self, error: Error, out: &mut Vec<u8>) -> SessionError {
        let mut plain = Vec::new();
        while let Side::Machine(machine) = &mut self.side
            && machine.common().wants_write()
        {
            let (_, step) = machine.step(&mut [], &mut self.heard, &mut plain, out);
            if step.is_err() {
                break;
            }
        }
        self.finish(error)
    }

    /// Ends the session; nothing more is said.
    fn finish(&mut self, error: Error) -> SessionError {
        let error = SessionError::from(error);
        self.over = Some(Box::new(error.clone()));
        (self.incoming, self.at) = (Vec::new(), 0);
        error
    }

    /// Adds to `out` what the protocol has to say by itself.
    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut plain = Vec::new();
        while let Step::More = self.step(&mut plain, out)? {}
        assert!(plain.is_empty(), "complete records were processed when they came");
        Ok(())
    }

    /// Writes a record of `plain`, or a close_notify; `None` where something has to go first.
    fn write(&mut self, plain: Option<&[u8]>, out: &mut [u8]) -> Result<Option<usize>, Error> {
        let Side::Machine(machine) = &mut self.side else { return Ok(None) };
        let (discard, written) = machine.write(&mut self.incoming[self.at..], plain, out);
        self.at += discard;
        written
    }
}
