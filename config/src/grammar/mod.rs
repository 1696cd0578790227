//! How the language is read, written and described: the machinery, not the tables themselves.
//!
//! - `section` declares tables and words; `setting` is what a key's value can be, `quantities`
//!   the durations, sizes and the like among them; `block` is a table with a name.
//! - `reader` walks the parsed text and collects mistakes; `later` knows what is not here yet.
//! - `names` turns names into indexes; `tree` is a config as plain data.

pub(crate) mod block;
pub(crate) mod later;
pub(crate) mod names;
mod quantities;
pub(crate) mod reader;
pub(crate) mod section;
pub(crate) mod setting;
pub(crate) mod tree;
