//! HTTP/2 upstream: connections to endpoints that many requests share, a stream each.
//!
//! `links` are one shard's connections to one endpoint, `link` is one of them and the task that
//! drives it, `asked` is a request on its stream, `head` turns heads into HTTP/2's and back.
//! A request never waits where another connection may be opened.

mod asked;
mod head;
mod link;
mod links;

pub(crate) use asked::Asked;
pub(crate) use links::{Links, lease};
