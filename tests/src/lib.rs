//! Harness for the tests that need more than one crate.

#![forbid(unsafe_code)]

pub mod sim;
