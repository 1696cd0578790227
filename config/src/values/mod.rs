//! The values that settings can have: each a type that holds nothing wrong, with its text form.
//!
//! A value knows how it is written, not which key it belongs to.

pub(crate) mod address;
pub(crate) mod bgp;
pub(crate) mod foreign;
pub(crate) mod grpc;
pub(crate) mod header;
pub(crate) mod link;
pub(crate) mod name;
pub(crate) mod pattern;
pub(crate) mod pin;
pub(crate) mod server_name;
pub(crate) mod text;
pub(crate) mod units;
pub(crate) mod url;
pub(crate) mod vip;
