//! HTTP/2 in the simulated world, on both sides of the proxy.
//!
//! - `client`: the client of `h2` over a simulated stream, and an origin that says what it got;
//! - `exchanges`: what goes through, whole and in its order;
//! - `grpc`: calls, and what they are told when there is no answer;
//! - `grpc_web`: calls of browsers to endpoints of gRPC;
//! - `raw`: frame by frame, for what a client of `h2` would never send;
//! - `accepted`: what a peer may send, form by form;
//! - `abuse`: what is refused, and by which name;
//! - `any`: frames without a plan;
//! - `callouts`: gRPC calls that filters make;
//! - `origin` and `upstream`: the side of endpoints;
//! - `sealed`: all of it inside of TLS;
//! - `session`: any script for one side of a connection;
//! - `slow`: bodies that come slowly, for a reason or on purpose;
//! - `windows`: how much may be on its way, and how many streams, by what the shard has left;
//! - `websocket` and its two `peer`s: tunnels, over both versions of HTTP.

mod abuse;
mod accepted;
mod any;
mod callouts;
pub(crate) mod client;
mod exchanges;
mod grpc;
mod grpc_web;
mod heads;
pub(crate) mod origin;
mod peer;
mod raw;
mod sealed;
mod session;
mod slow;
mod upstream;
mod websocket;
mod windows;

pub(crate) use client::Io;
pub(crate) use grpc::call_all;
