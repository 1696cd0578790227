//! HTTP/1 downstream: one connection's life, request by request.
//!
//! ```text
//! accept -> parked -> head -> exchange -> keep alive: head -> ... -> parked -> ... -> closed
//! ```
//! `connection` is that line; `head` reads a request's head; `exchange` is one request and its
//! answer: `retry` asks endpoints until one answers, `attempt` one of them once `places` found
//! room, `respond` answers ourselves, `filtered` shows both to the filters, `body` and `deadlines`
//! are what both directions share, `pace` is how slow an upload may be.

mod attempt;
mod body;
mod connection;
mod deadlines;
mod download;
mod edit;
pub(crate) mod exchange;
mod fieldmap;
mod filtered;
mod forwarded;
pub(crate) mod head;
mod identity;
mod pace;
mod places;
mod record;
pub(crate) mod respond;
mod retry;
mod scratch;
mod session;
mod target;
mod upload;

pub(crate) use body::Relay;
pub(crate) use connection::{Http1Connection, serve};
pub(crate) use download::{cause_of as cause_of_response, via};
pub(crate) use scratch::Scratch;
