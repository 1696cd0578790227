//! The local admin HTTP API.
