//! After an upgrade: bytes both ways, until both sides have ended.
//!
//! `end` is a side, whatever it speaks: a connection, or a stream of one. `direction` carries from
//! one to the other; of a WebSocket it knows where frames end, and can put one of ours between
//! two of theirs. `policy` is when: pings to the silent, and goodbye where we drain.

mod direction;
mod end;
mod policy;
mod run;

pub(crate) use run::run;
