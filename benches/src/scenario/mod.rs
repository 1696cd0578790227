//! The scenarios, each from its proxies to its table.

mod filters;
mod http1;
mod http2;
mod idle;
mod l4;
mod soak;
pub(crate) mod tls;
mod window;

pub use filters::filters;
pub use http1::http1;
pub use http2::{grpc, http2, http2_to_http1};
pub use idle::idle;
pub use l4::{l4_bulk, l4_connections, l4_datagrams, l4_idle};
pub use soak::soak;
pub use tls::tls;
