//! WebSocket (RFC 6455), as far as we look at it: where frames end, so that one of ours can go
//! between two of theirs, and what a handshake is accepted with.
//!
//! Not for what frames say: they pass as they are, and nothing of them is checked, buffered or
//! unmasked.

mod frames;
mod handshake;
#[cfg(any(test, feature = "property"))]
pub mod property;
#[cfg(test)]
mod tests;

pub use frames::{FrameWalk, Opcode, Step, write_control};
pub use handshake::{KEY_BYTES, accept_of, key_of};

/// The protocol's name, in `Upgrade` and in `:protocol`.
pub const NAME: &str = "websocket";

/// Whether an `Upgrade` field names it.
pub fn is_named_by(upgrade: Option<&[u8]>) -> bool {
    upgrade.is_some_and(|token| token.eq_ignore_ascii_case(NAME.as_bytes()))
}

/// RFC 6455 §7.4.1: "an endpoint is going away, such as a server going down".
pub const GOING_AWAY: u16 = 1001;
