//! Adds, sets and removes header fields.
