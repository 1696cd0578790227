//! HTTP/1 spoken by both sides of whatever is under test, and a ledger of what must come of it.
//!
//! Clients and origins parse with their own small strict code (`wire`), not with the code under
//! test. Every request has an id of its own, and every body byte follows from it, so that a byte
//! that reaches another session is seen at once.
//!
//! - `plan`: what a request and its answer will be like, drawn from the seed;
//! - `wire`: strict reading and paced writing;
//! - `client`, `origin`: the two sides;
//! - `ledger`, `verdict`: what became of each request, and whether that may be;
//! - `scene`: nodes, clients and origins around whatever is under test.

pub(crate) mod client;
pub(crate) mod ledger;
pub(crate) mod origin;
pub(crate) mod plan;
pub(crate) mod scene;
mod tests;
mod verdict;
pub(crate) mod wire;
