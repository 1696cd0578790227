//! Harness for the tests that need more than one crate, and for the fuzz targets that do.

#![forbid(unsafe_code)]

pub mod frames;
pub mod http2_session;
pub mod proxy;
pub mod sim;

/// What the front page shows as a filter compiles: a doctest over the document.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct FrontPage;
