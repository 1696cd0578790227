//! rustls' connection, on either side: one state of its machine at a time.
//!
//! Over the unbuffered connections: they keep no record buffers, and what is to be sent is written
//! where it leaves from. They make the handshakes, and the records of TLS 1.2.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{CommonState, Error, ProtocolVersion};

use crate::session::Received;
use crate::store;
use crate::traffic::Traffic;

/// Boxed: a session is moved often and looked into rarely.
pub(crate) enum Machine {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// What processing came to.
pub(crate) enum Step {
    More,
    Received(Received),
}

/// What the peer has said.
#[derive(Default)]
pub(crate) struct Heard {
    /// That nothing comes any more.
    pub(crate) closed: bool,
    /// What its ClientHello asks for.
    pub(crate) server_name: Option<Box<str>>,
}

impl Machine {
    pub(crate) fn common(&self) -> &CommonState {
        match self {
            Machine::Server(connection) => connection,
            Machine::Client(connection) => connection,
        }
    }

    /// One state. What is done with at the beginning of `incoming`, it says first.
    pub(crate) fn step(
        &mut self,
        incoming: &mut [u8],
        heard: &mut Heard,
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> (usize, Result<Step, Error>) {
        let closed = &mut heard.closed;
        match self {
            Machine::Server(side) => {
                let taken = take(side.process_tls_records(incoming), closed, plain, out);
                if let Some(asked) = store::take_asked() {
                    heard.server_name = asked;
                }
                taken
            }
            Machine::Client(side) => take(side.process_tls_records(incoming), closed, plain, out),
        }
    }

    /// Writes a record of `plain`, or a close_notify; `None` where something has to go first.
    pub(crate) fn write(
        &mut self,
        incoming: &mut [u8],
        plain: Option<&[u8]>,
        out: &mut [u8],
    ) -> (usize, Result<Option<usize>, Error>) {
        match self {
            Machine::Server(side) => write(side.process_tls_records(incoming), plain, out),
            Machine::Client(side) => write(side.process_tls_records(incoming), plain, out),
        }
    }

    /// Whether [`Traffic`] can go on where it is.
    pub(crate) fn is_open_in_tls13(&self) -> bool {
        let common = self.common();
        !common.is_handshaking() && common.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// Makes way for [`Traffic`]: an open session, for which nothing waits in either direction.
    pub(crate) fn into_traffic(self) -> Result<Traffic, Error> {
        match self {
            Machine::Server(connection) => Traffic::of_server(*connection),
            Machine::Client(connection) => Traffic::of_client(*connection),
        }
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
