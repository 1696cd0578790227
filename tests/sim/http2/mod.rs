//! HTTP/2 downstream in the simulated world.
//!
//! - `client`: the client of `h2` over a simulated stream, and an origin that says what it got;
//! - `exchanges`: what goes through, whole and in its order;
//! - `raw`: frame by frame, for what a client of `h2` would never send;
//! - `abuse`: what is refused, and by which name.

mod abuse;
mod client;
mod exchanges;
mod raw;
