//! The scenarios, each from its proxies to its table.

mod filters;
mod http1;
mod idle;
mod soak;
pub(crate) mod tls;
mod window;

pub use filters::filters;
pub use http1::http1;
pub use idle::idle;
pub use soak::soak;
pub use tls::tls;
