//! Protocol codecs: bytes in, messages out, no I/O.
//!
//! One folder per protocol. Not for sockets, clocks or tasks, and not for status codes: a codec
//! says what was wrong with the bytes, `proxy` decides what to answer.

#![forbid(unsafe_code)]

pub mod grpc;
pub mod http1;
pub mod http2;
pub mod proxy_protocol;
pub mod tls_hello;
pub mod websocket;
