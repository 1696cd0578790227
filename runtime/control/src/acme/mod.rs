//! Certificates by ACME (RFC 8555): ordered, kept on disk, renewed, and told of.
//!
//! ```text
//! Control: which are due ---Work---> desk: one after the other ---> order: the authority
//!    ^                                 |                              |
//!    +---- proofs, outcomes -----------+---- the file on disk <-------+
//! ```
//! `desk` is the task that does it, beside the control loop; `order` speaks to the authority over
//! the library; `file` is the folder on disk; `schedule` says when; `jobs` is what the control
//! loop knows of it all, and `views` what it shows of that. The certificate's way to the shards is
//! that of any other file.

mod desk;
mod file;
mod jobs;
mod order;
mod schedule;
mod views;

pub(crate) use desk::run;
pub(crate) use file::certificate_path;
pub(crate) use jobs::{Acme, Proof, ProofKind};
pub use views::{AcmeStanding, AcmeState, AcmeView};
