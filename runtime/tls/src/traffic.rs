//! An open TLS 1.3 session without rustls' connection: what its records carry, and its keys.
//!
//! rustls makes the handshake, keeps the schedule of keys and takes tickets. Its connection takes
//! 1,700 bytes for as long as it lives, though, and copies each byte twice; so once a handshake is
//! over the records are made here: data, alerts (RFC 8446 §6), tickets and key updates (§4.6).

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::{
    AlertDescription, Error, ExtractedSecrets, HandshakeType, InvalidMessage, PeerMisbehaved,
    SupportedCipherSuite,
};

use crate::keys::{FRAGMENT_BYTES_MAX, Key, record_bytes};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// What rustls takes of any message. Only tickets are so long.
const MESSAGE_BYTES_MAX: usize = 0xffff;
/// Key updates in a row, without a byte of data between. As BoringSSL has it.
const KEY_UPDATES_MAX: u8 = 32;
/// RFC 8446 §6.1: `user_canceled` is to be followed by an end, and is no end itself.
const WARNINGS_MAX: u8 = 4;

/// An open session.
pub(crate) struct Traffic {
    sealing: Key,
    opening: Key,
    schedule: Schedule,
    /// The beginning of a message whose rest has not come.
    partial: Vec<u8>,
    /// Records that a key may seal.
    records_max: u64,
    /// Our key is to change before the next record.
    update_owed: bool,
    key_updates: u8,
    warnings: u8,
}

/// What derives the next keys.
enum Schedule {
    Server(KernelConnection<ServerConnectionData>),
    Client(KernelConnection<ClientConnectionData>),
}

/// What ends a session: what the peer is told of it, if anything, and why.
pub(crate) struct Fault {
    pub(crate) alert: Option<AlertDescription>,
    pub(crate) error: Error,
}

/// What was in some received bytes.
pub(crate) struct Opened {
    /// So many of them are done with.
    pub(crate) used_bytes: usize,
    /// Whether the peer has said that nothing comes any more, or what ended the session.
    pub(crate) closed: Result<bool, Fault>,
}

impl Traffic {
    /// Takes over from a connection whose handshake is over.
    pub(crate) fn of_server(connection: UnbufferedServerConnection) -> Result<Traffic, Error> {
        let (secrets, kernel) = connection.dangerous_into_kernel_connection()?;
        let suite = kernel.negotiated_cipher_suite();
        Traffic::new(secrets, suite, Schedule::Server(kernel))
    }

    /// The same, where we are the client.
    pub(crate) fn of_client(connection: UnbufferedClientConnection) -> Result<Traffic, Error> {
        let (secrets, kernel) = connection.dangerous_into_kernel_connection()?;
        let suite = kernel.negotiated_cipher_suite();
        Traffic::new(secrets, suite, Schedule::Client(kernel))
    }

    fn new(
        secrets: ExtractedSecrets,
        suite: SupportedCipherSuite,
        schedule: Schedule,
    ) -> Result<Traffic, Error> {
        let suite = suite.tls13().ok_or(Error::HandshakeNotComplete)?;
        Ok(Traffic {
            sealing: Key::new(secrets.tx)?,
            opening: Key::new(secrets.rx)?,
            schedule,
            partial: Vec::new(),
            records_max: suite.common.confidentiality_limit,
            update_owed: false,
            key_updates: 0,
            warnings: 0,
        })
    }

    /// Changes our key after so many records.
    #[cfg(test)]
    pub(crate) fn limit_records(&mut self, count: u64) {
        self.records_max = count;
    }

    /// Changes our key now.
    #[cfg(any(test, feature = "property"))]
    pub(crate) fn change_key(&mut self, out: &mut Vec<u8>) {
        self.update_key(out).expect("a schedule has as many keys as are asked for");
    }

    /// Adds a record to `out`, whatever is in it.
    #[cfg(any(test, feature = "property"))]
    pub(crate) fn seal_raw(&mut self, kind: u8, content: &[u8], out: &mut Vec<u8>) {
        self.sealing.seal(kind, content, out).expect("numbers are left");
    }

    /// Opens the whole records at the beginning of `bytes`, and adds what is in them to `plain`.
    pub(crate) fn open(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Opened {
        let mut at = 0;
        let closed = loop {
            match self.open_one(&bytes[at..], plain) {
                Ok(Step::Record { bytes, closed: false }) => at += bytes,
                // RFC 8446 §6.1: what comes behind it is ignored.
                Ok(Step::Record { closed: true, .. }) => {
                    at = bytes.len();
                    break Ok(true);
                }
                Ok(Step::Part) => break Ok(false),
                Err(fault) => break Err(fault),
            }
        };
        Opened { used_bytes: at, closed }
    }

    fn open_one(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<Step, Fault> {
        let Some(record) = record_bytes(bytes)?.and_then(|count| bytes.get(..count)) else {
            return Ok(Step::Part);
        };
        let start = plain.len();
        let kind = self.opening.open(record, plain)?;
        let closed = match kind {
            // RFC 8446 §5.1: messages of the handshake are not interleaved with other records.
            APPLICATION_DATA | ALERT if !self.partial.is_empty() => {
                plain.truncate(start);
                return Err(PeerMisbehaved::MessageInterleavedWithHandshakeMessage.into());
            }
            APPLICATION_DATA => {
                if plain.len() > start {
                    self.key_updates = 0;
                }
                false
            }
            ALERT => self.take_alert(&plain.split_off(start))?,
            HANDSHAKE => {
                self.take_messages(&plain.split_off(start))?;
                false
            }
            other => {
                plain.truncate(start);
                return Err(inappropriate(other).into());
            }
        };
        Ok(Step::Record { bytes: record.len(), closed })
    }

    /// Whether an alert is the peer's orderly end.
    fn take_alert(&mut self, alert: &[u8]) -> Result<bool, Fault> {
        // RFC 8446 §5.1: one alert in a record, and whole. §6: the level says nothing.
        let &[_, description] = alert else {
            return Err(InvalidMessage::MessageTooShort.into());
        };
        match AlertDescription::from(description) {
            AlertDescription::CloseNotify => Ok(true),
            AlertDescription::UserCanceled if self.warnings < WARNINGS_MAX => {
                self.warnings += 1;
                Ok(false)
            }
            AlertDescription::UserCanceled => {
                Err(PeerMisbehaved::TooManyWarningAlertsReceived.into())
            }
            // RFC 8446 §6.2: whoever receives one says nothing more.
            other => Err(Fault { alert: None, error: Error::AlertReceived(other) }),
        }
    }

    /// Messages of the handshake protocol, which may begin and end anywhere in records.
    fn take_messages(&mut self, content: &[u8]) -> Result<(), Fault> {
        // RFC 8446 §5.1: such records are never empty.
        if content.is_empty() {
            return Err(InvalidMessage::InvalidEmptyPayload.into());
        }
        let mut held = std::mem::take(&mut self.partial);
        let mut rest = match held.is_empty() {
            true => content,
            false => {
                held.extend_from_slice(content);
                &held
            }
        };
        while let &[kind, a, b, c, ref behind @ ..] = rest {
            let body_bytes = u32::from_be_bytes([0, a, b, c]) as usize;
            if body_bytes > self.message_bytes_max(kind)? {
                return Err(InvalidMessage::HandshakePayloadTooLarge.into());
            }
            let Some((body, next)) = behind.split_at_checked(body_bytes) else { break };
            self.take_message(kind, body, next.is_empty())?;
            rest = next;
        }
        if !rest.is_empty() {
            self.partial = rest.to_vec();
        }
        Ok(())
    }

    /// How long the body of a message may be, if one of this kind may come at all.
    fn message_bytes_max(&self, kind: u8) -> Result<usize, Fault> {
        match (HandshakeType::from(kind), &self.schedule) {
            (HandshakeType::KeyUpdate, _) => Ok(1),
            (HandshakeType::NewSessionTicket, Schedule::Client(_)) => Ok(MESSAGE_BYTES_MAX),
            (got_type, _) => {
                let expect_types = vec![HandshakeType::KeyUpdate];
                Err(Error::InappropriateHandshakeMessage { expect_types, got_type }.into())
            }
        }
    }

    fn take_message(&mut self, kind: u8, body: &[u8], last: bool) -> Result<(), Fault> {
        if let (HandshakeType::NewSessionTicket, Schedule::Client(kernel)) =
            (HandshakeType::from(kind), &mut self.schedule)
        {
            return Ok(kernel.handle_new_session_ticket(body)?);
        }
        // RFC 8446 §5.1: no message is on both sides of a change of keys.
        if !last {
            return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into());
        }
        // RFC 8446 §4.6.3: whoever floods us has its end. Nobody changes keys so often.
        self.key_updates += 1;
        if self.key_updates > KEY_UPDATES_MAX {
            return Err(PeerMisbehaved::TooManyKeyUpdateRequests.into());
        }
        match body {
            [0] => {}
            // RFC 8446 §4.6.3: ours follows before the next data; one is enough for several.
            [1] => self.update_owed = true,
            _ => return Err(InvalidMessage::InvalidKeyUpdate.into()),
        }
        let secrets = match &mut self.schedule {
            Schedule::Server(kernel) => kernel.update_rx_secret(),
            Schedule::Client(kernel) => kernel.update_rx_secret(),
        };
        self.opening = Key::new(secrets?)?;
        Ok(())
    }

    /// Adds `plain` to `out`, in records.
    ///
    /// # Errors
    /// The keys can't be changed.
    pub(crate) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        for fragment in plain.chunks(FRAGMENT_BYTES_MAX) {
            // RFC 8446 §5.5: a key is for so many records and no more.
            if self.update_owed || self.sealing.used_count() >= self.records_max {
                self.update_key(out)?;
            }
            self.sealing.seal(APPLICATION_DATA, fragment, out)?;
        }
        Ok(())
    }

    /// RFC 8446 §4.6.3: says that our key changes, and changes it. The peer need not.
    fn update_key(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let message = [u8::from(HandshakeType::KeyUpdate), 0, 0, 1, 0];
        self.sealing.seal(HANDSHAKE, &message, out)?;
        let secrets = match &mut self.schedule {
            Schedule::Server(kernel) => kernel.update_tx_secret(),
            Schedule::Client(kernel) => kernel.update_tx_secret(),
        };
        self.sealing = Key::new(secrets?)?;
        self.update_owed = false;
        Ok(())
    }

    /// Adds an alert to `out`; nothing is sealed behind it.
    pub(crate) fn seal_alert(&mut self, alert: AlertDescription, out: &mut Vec<u8>) {
        // RFC 8446 §6: the level follows from the description.
        let level = if alert == AlertDescription::CloseNotify { WARNING } else { FATAL };
        // A key that seals nothing any more has nothing to say.
        let _ = self.sealing.seal(ALERT, &[level, alert.into()], out);
    }
}

/// What the beginning of some bytes came to.
enum Step {
    /// A record is not whole.
    Part,
    Record {
        bytes: usize,
        closed: bool,
    },
}

/// RFC 8446 §6: the levels of alerts.
const WARNING: u8 = 1;
const FATAL: u8 = 2;

fn inappropriate(kind: u8) -> Error {
    let expect_types = vec![APPLICATION_DATA.into(), HANDSHAKE.into()];
    Error::InappropriateMessage { expect_types, got_type: kind.into() }
}

impl<E: Into<Error>> From<E> for Fault {
    /// The alert that RFC 8446 names for it.
    fn from(error: E) -> Fault {
        let error = error.into();
        let alert = match &error {
            Error::DecryptError => AlertDescription::BadRecordMac,
            Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
            Error::InvalidMessage(InvalidMessage::InvalidKeyUpdate) => {
                AlertDescription::IllegalParameter
            }
            Error::InvalidMessage(InvalidMessage::InvalidEmptyPayload)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_) => AlertDescription::UnexpectedMessage,
            Error::InvalidMessage(_) => AlertDescription::DecodeError,
            _ => AlertDescription::InternalError,
        };
        Fault { alert: Some(alert), error }
    }
}
