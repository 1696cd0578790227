//! HTTP/1 downstream: one connection's life, request by request.
//!
//! ```text
//! accept -> parked -> head -> exchange -> keep alive: head -> ... -> parked -> ... -> closed
//! ```
//! `connection` is that line; `head` reads a request's head. What becomes of the request is
//! `crate::exchange`.

mod connection;
mod head;

pub(crate) use connection::{Http1Connection, serve};
