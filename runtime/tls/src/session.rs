//! One connection's TLS: received bytes in, plain bytes out, and the other way round.
//!
//! Over rustls' unbuffered connections: they keep no record buffers, so an idle session is its
//! keys and little more. A partly received record waits in `incoming`, which the owner lends and
//! gets back as soon as it is empty.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{CommonState, Error, HandshakeKind};

use crate::explain::{Refusal, explain};
use crate::identity::{Identity, Telling};
use crate::store;
use crate::suites::Suite;

/// RFC 8446 §5.1: no fragment is longer.
const FRAGMENT_BYTES_MAX: usize = 16 * 1024;
/// Header, nonce, tag, content type: 29 bytes at most, with room for a key update before it.
const RECORD_OVERHEAD: usize = 128;

/// A TLS session, on either side.
pub struct Session {
    side: Side,
    /// Received and not yet processed, from `at` on.
    incoming: Vec<u8>,
    at: usize,
    peer_closed: bool,
    /// What the downstream asked for.
    server_name: Option<Box<str>>,
    /// What ended it.
    over: Option<Box<SessionError>>,
}

/// Boxed: a session is moved often and looked into rarely.
enum Side {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
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

/// What processing came to.
enum Step {
    More,
    Received(Received),
}

impl Session {
    pub(crate) fn of_server(connection: UnbufferedServerConnection) -> Session {
        Session::new(Side::Server(Box::new(connection)))
    }

    pub(crate) fn of_client(connection: UnbufferedClientConnection) -> Session {
        Session::new(Side::Client(Box::new(connection)))
    }

    fn new(side: Side) -> Session {
        Session {
            side,
            incoming: Vec::new(),
            at: 0,
            peer_closed: false,
            server_name: None,
            over: None,
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
        self.incoming.extend_from_slice(bytes);
        let received = loop {
            match self.step(plain, out) {
                Ok(Step::More) => {}
                Ok(Step::Received(received)) => break received,
                Err(error) => return Err(self.end(error, out)),
            }
        };
        if self.at == self.incoming.len() {
            self.incoming.clear();
            self.at = 0;
        } else if self.at >= FRAGMENT_BYTES_MAX {
            self.incoming.drain(..self.at);
            self.at = 0;
        }
        Ok(received)
    }

    /// Keeps bytes of the peer for the next call of [`Session::receive`].
    pub fn push(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
    }

    /// The name that the downstream asked for, as soon as it has.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
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
        if let Err(error) = self.flush(out) {
            self.end(error, out);
            return;
        }
        let start = out.len();
        out.resize(start + RECORD_OVERHEAD, 0);
        let written = self.write(None, &mut out[start..]);
        out.truncate(start + written.ok().flatten().unwrap_or(0));
    }

    /// The protocol that was agreed on, by its ALPN name.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.common().alpn_protocol()
    }

    /// What was agreed on, with `tellings` of who the downstream is; the name that it asked for
    /// is kept there from now on. `None` before the handshake is over.
    pub fn facts(&mut self, tellings: &[Telling]) -> Option<Facts> {
        let named = self.server_name.take();
        let common = self.common();
        let suite = Suite::of(common.negotiated_cipher_suite()?);
        let (server_name, client) = match &self.side {
            Side::Server(_) => {
                let own = common.peer_certificates().and_then(<[_]>::first);
                (named, own.and_then(|own| Identity::of(own, tellings)))
            }
            Side::Client(_) => (None, None),
        };
        Some(Facts {
            suite,
            server_name,
            http2: common.alpn_protocol() == Some(b"h2"),
            resumed: common.handshake_kind() == Some(HandshakeKind::Resumed),
            client: client.map(Box::new),
        })
    }

    fn common(&self) -> &CommonState {
        match &self.side {
            Side::Server(connection) => connection,
            Side::Client(connection) => connection,
        }
    }

    /// One state of rustls' machine.
    fn step(&mut self, plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<Step, Error> {
        let incoming = &mut self.incoming[self.at..];
        let closed = &mut self.peer_closed;
        let (discard, step) = match &mut self.side {
            Side::Server(side) => {
                let taken = take(side.process_tls_records(incoming), closed, plain, out);
                if let Some(asked) = store::take_asked() {
                    self.server_name = asked;
                }
                taken
            }
            Side::Client(side) => take(side.process_tls_records(incoming), closed, plain, out),
        };
        self.at += discard;
        step
    }

    /// Ends the session after an error, with the alert that tells the peer. rustls takes no call
    /// after one but for that: it would look at the same bytes again.
    fn end(&mut self, error: Error, out: &mut Vec<u8>) -> SessionError {
        let mut plain = Vec::new();
        while self.common().wants_write() && !self.is_over() {
            let (closed, none) = (&mut self.peer_closed, &mut []);
            let (_, step) = match &mut self.side {
                Side::Server(side) => take(side.process_tls_records(none), closed, &mut plain, out),
                Side::Client(side) => take(side.process_tls_records(none), closed, &mut plain, out),
            };
            if step.is_err() {
                break;
            }
        }
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
        let incoming = &mut self.incoming[self.at..];
        let (discard, written) = match &mut self.side {
            Side::Server(side) => write(side.process_tls_records(incoming), plain, out),
            Side::Client(side) => write(side.process_tls_records(incoming), plain, out),
        };
        self.at += discard;
        written
    }
}

fn take<D>(
    status: UnbufferedStatus<'_, '_, D>,
    closed: &mut bool,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> (usize, Result<Step, Error>) {
    let mut discard = status.discard;
    let state = match status.state {
        Ok(state) => state,
        Err(error) => return (discard, Err(error)),
    };
    let step = match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                    Err(error) => return (discard, Err(error)),
                }
            }
            Step::More
        }
        ConnectionState::EncodeTlsData(mut encode) => {
            let start = out.len();
            if let Err(EncodeError::InsufficientSize(size)) = encode.encode(&mut []) {
                out.resize(start + size.required_size, 0);
                // It was told the size it asked for on the line above.
                let written = encode.encode(&mut out[start..]).unwrap_or(0);
                out.truncate(start + written);
            }
            Step::More
        }
        ConnectionState::TransmitTlsData(transmit) => {
            transmit.done();
            Step::More
        }
        ConnectionState::PeerClosed => {
            *closed = true;
            Step::Received(Received::Closed)
        }
        ConnectionState::Closed => Step::Received(Received::Closed),
        ConnectionState::WriteTraffic(_) if *closed => Step::Received(Received::Closed),
        ConnectionState::WriteTraffic(_) => Step::Received(Received::Open),
        ConnectionState::BlockedHandshake => Step::Received(Received::Handshaking),
        // Early data is switched off: a peer that sends some breaks the protocol.
        _ => return (discard, Err(Error::General("unexpected state".to_owned()))),
    };
    (discard, Ok(step))
}

fn write<D>(
    status: UnbufferedStatus<'_, '_, D>,
    plain: Option<&[u8]>,
    out: &mut [u8],
) -> (usize, Result<Option<usize>, Error>) {
    let written = match (status.state, plain) {
        (Ok(ConnectionState::WriteTraffic(mut traffic)), Some(plain)) => {
            traffic.encrypt(plain, out).map(Some).map_err(|_| Error::EncryptError)
        }
        (Ok(ConnectionState::WriteTraffic(mut traffic)), None) => {
            traffic.queue_close_notify(out).map(Some).map_err(|_| Error::EncryptError)
        }
        (Ok(_), _) => Ok(None),
        (Err(error), _) => Err(error),
    };
    (status.discard, written)
}
