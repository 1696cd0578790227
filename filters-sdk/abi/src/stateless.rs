//! The optional export that spares two callbacks per exchange.
//!
//! Most filters keep nothing of an exchange between its callbacks: being told that a context was
//! made for it, and that it is gone, changes nothing in them, and costs the host two of four calls.
//! A module that exports [`EXPORT`] says whether it is such a one:
//!
//! * Signature: `penstock_stateless() -> i32`; anything but 0 means yes.
//! * The host calls it at most once in the life of an instance, after `_initialize` (or
//!   `_start`) and before any other callback.
//! * After a yes, and if the instance has one plugin (one root context), the host leaves out
//!   `proxy_on_context_create` and `proxy_on_delete` of stream contexts. Those of the root context
//!   come as ever, and so do all other callbacks of streams, with ids that are nobody else's.
//! * After a yes, the host may make the callbacks of one stream in different instances: where one
//!   traps, the streams beside it go on in the next.
//! * With more plugins an instance has to know whose an exchange is, and both come as ever.
//! * Other hosts never call it. A module may not rely on being called.

/// The name of the export.
pub const EXPORT: &str = "penstock_stateless";
