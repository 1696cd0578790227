//! Connections of services that have filters: what filters are shown, what they hold and decide.
//!
//! ```text
//! accept -> [hello] -> new connection -> connect -> carry (two ways, what filters want by hand)
//! ```
//! A filter sees a connection before there is one to an endpoint, and of its bytes what it has
//! callbacks for; the rest goes as it does without filters. `shown` is a direction that filters
//! see, `filters` what they are told and say, `view` what they can ask.

mod carry;
mod filters;
mod session;
mod shown;
mod view;
