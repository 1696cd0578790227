//! Session tickets: sealed with a key that turns every twelve hours, the same on every shard.
//!
//! Without a key file the keys are random, live in this process alone, and are forgotten one
//! turn after their last use. With one, they are derived from its secrets and the number of the
//! turn, so a fleet that shares the file takes each other's tickets, also after a restart.
//!
//! The file: a secret per line, 64 hexadecimal digits (`openssl rand -hex 32`); empty lines and
//! lines that begin with `#` are passed over. The first secret seals, all of them open. To change
//! a secret without a lost session: add the new one as second line on every appliance, reload,
//! then put it first, reload, and take the old one out a day later.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

use crate::error::TlsError;

/// How long a key seals, in seconds. It opens for one turn more.
pub(crate) const TICKET_KEY_TURN_SECONDS: u64 = 12 * 3_600;
/// Secrets that a file may hold: each is tried for three turns.
const SECRETS_MAX: usize = 8;
const NAME_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;

/// The secrets of a key file.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketSecrets(Vec<[u8; SECRET_BYTES]>);

impl TicketSecrets {
    /// From a file's text.
    ///
    /// # Errors
    /// There is no secret in it, or a line that is none.
    pub fn read(text: &[u8]) -> Result<TicketSecrets, TlsError> {
        let mut secrets = Vec::new();
        for (line, number) in text.split(|&byte| byte == b'\n').zip(1..) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            secrets.push(secret(line).ok_or(TlsError::BadTicketSecret { line: number })?);
        }
        match secrets.len() {
            0 => Err(TlsError::NoTicketSecret),
            1..=SECRETS_MAX => Ok(TicketSecrets(secrets)),
            _ => Err(TlsError::TooManyTicketSecrets { max: SECRETS_MAX }),
        }
    }
}

/// Says how many, never which.
impl fmt::Debug for TicketSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketSecrets({})", self.0.len())
    }
}

fn secret(line: &[u8]) -> Option<[u8; SECRET_BYTES]> {
    if line.len() != 2 * SECRET_BYTES {
        return None;
    }
    let mut secret = [0; SECRET_BYTES];
    for (byte, digits) in secret.iter_mut().zip(line.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?;
    }
    Some(secret)
}

/// Seals and opens tickets. Shared by every shard; turned by the control side.
pub struct Tickets {
    origin: Origin,
    keyring: ArcSwap<Keyring>,
}

/// What keys are made of.
#[derive(Clone, PartialEq, Eq)]
struct Origin {
    secrets: Option<TicketSecrets>,
    /// Who is believed on the strength of a ticket: see [`Tickets::new`].
    audience: Vec<u8>,
}

impl Tickets {
    /// With the secrets of a key file, or with random ones, at `now` in seconds since 1970.
    ///
    /// A ticket carries the downstream's certificate, which is not verified again when it comes
    /// back. So tickets of one `audience` are opened by no other: it names how certificates are
    /// verified, and is empty where they are not.
    pub fn new(secrets: Option<TicketSecrets>, audience: &[u8], now: u64) -> Arc<Tickets> {
        let origin = Origin { secrets, audience: audience.to_vec() };
        let keyring = ArcSwap::from_pointee(Keyring::at(turn_of(now), &origin, None));
        Arc::new(Tickets { origin, keyring })
    }

    /// Whether it was made of these.
    pub fn is_of(&self, secrets: Option<&TicketSecrets>, audience: &[u8]) -> bool {
        self.origin.secrets.as_ref() == secrets && self.origin.audience == audience
    }

    /// Takes the next key if it is time; whether it did. A clock that was set back is followed.
    pub fn turn(&self, now: u64) -> bool {
        let (turn, keyring) = (turn_of(now), self.keyring.load());
        let due = keyring.turn != turn;
        if due {
            self.keyring.store(Arc::new(Keyring::at(turn, &self.origin, Some(&keyring))));
        }
        due
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tickets(turn {})", self.keyring.load().turn)
    }
}

fn turn_of(now: u64) -> u64 {
    now / TICKET_KEY_TURN_SECONDS
}

/// The keys of one turn.
struct Keyring {
    turn: u64,
    /// The first seals, all open.
    keys: Vec<Arc<TicketKey>>,
}

impl Keyring {
    fn at(turn: u64, origin: &Origin, previous: Option<&Keyring>) -> Keyring {
        let keys = match &origin.secrets {
            Some(TicketSecrets(secrets)) => {
                // An appliance whose clock is ahead may be in the next turn already.
                let turns = [turn, turn.saturating_sub(1), turn + 1];
                let keys = turns.iter().flat_map(|&turn| {
                    secrets
                        .iter()
                        .map(move |secret| TicketKey::derived(secret, &origin.audience, turn))
                });
                keys.flatten().map(Arc::new).collect()
            }
            None => {
                let last = previous.and_then(|keyring| keyring.keys.first()).map(Arc::clone);
                TicketKey::random().map(Arc::new).into_iter().chain(last).collect()
            }
        };
        Keyring { turn, keys }
    }
}

struct TicketKey {
    name: [u8; NAME_BYTES],
    key: RandomizedNonceKey,
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        NAME_BYTES + SECRET_BYTES
    }
}

impl TicketKey {
    /// RFC 5869, with the turn in the info: who has one turn's key has no other's.
    fn derived(secret: &[u8; SECRET_BYTES], audience: &[u8], turn: u64) -> Option<TicketKey> {
        let key = Salt::new(HKDF_SHA256, b"penstock session tickets 1").extract(secret);
        let mut bytes = [0; NAME_BYTES + SECRET_BYTES];
        let turn = turn.to_be_bytes();
        key.expand(&[&turn, audience], Length).and_then(|okm| okm.fill(&mut bytes)).ok()?;
        TicketKey::of(&bytes)
    }

    fn random() -> Option<TicketKey> {
        let mut bytes = [0; NAME_BYTES + SECRET_BYTES];
        rand::fill(&mut bytes).ok()?;
        TicketKey::of(&bytes)
    }

    fn of(bytes: &[u8; NAME_BYTES + SECRET_BYTES]) -> Option<TicketKey> {
        let (name, secret) = bytes.split_at(NAME_BYTES);
        let key = RandomizedNonceKey::new(&AES_256_GCM, secret).ok()?;
        Some(TicketKey { name: name.try_into().ok()?, key })
    }
}

/// A ticket is the key's name, a nonce, and the sealed state with its tag.
impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        TICKET_KEY_TURN_SECONDS as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let keyring = self.keyring.load();
        let TicketKey { name, key } = &**keyring.keys.first()?;
        let mut sealed = plain.to_vec();
        let nonce = key.seal_in_place_append_tag(Aad::from(name), &mut sealed).ok()?;
        Some([&name[..], &nonce.as_ref()[..], &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME_BYTES)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let keyring = self.keyring.load();
        let key = keyring.keys.iter().find(|key| key.name == *name)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = sealed.to_vec();
        let length = key.key.open_in_place(nonce, Aad::from(&key.name), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}
