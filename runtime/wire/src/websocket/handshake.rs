//! What a handshake is asked and accepted with over HTTP/1.1 (RFC 6455 §4). Over HTTP/2 there is
//! neither (RFC 8441 §5).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// Bytes of a `Sec-WebSocket-Key`.
pub const KEY_BYTES: usize = 24;

/// The `Sec-WebSocket-Key` of a nonce (RFC 6455 §4.1).
pub fn key_of(nonce: [u8; 16]) -> String {
    STANDARD.encode(nonce)
}

/// The `Sec-WebSocket-Accept` that answers a key (RFC 6455 §4.2.2).
pub fn accept_of(key: &[u8]) -> String {
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    STANDARD.encode(hash)
}

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
