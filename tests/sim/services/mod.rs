//! Services of layer 4 between clients and endpoints that talk both ways at once.
//!
//! Whatever happens: what arrives is what was sent, from its begin; a stream that ends in order is
//! whole; and when all is over, all counts are back to zero. `talks` is a conversation and both its
//! sides; `conversations` has whole ones, and `limits` those who say nothing, read nothing or are
//! too many.

mod conversations;
mod limits;
mod talks;

use std::time::Duration;

use penstock_env::Address;

pub(crate) use limits::{Fate, sit};
pub(crate) use talks::{Ledger, settle, talk, talker};

const SECOND: Duration = Duration::from_secs(1);

/// A service in front of these, with more for itself and for its cluster.
pub(crate) fn config(endpoints: &[Address], service: &str, cluster: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|one| format!("\"{one}\"")).collect();
    format!(
        "[service.s]\nvip = \"10.9.9.9\"\nports = \"tcp/80\"\nto = \"c\"\n{service}\n\
         [cluster.c]\nendpoints = [{}]\n{cluster}\n",
        endpoints.join(", ")
    )
}
