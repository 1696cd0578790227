//! The binary on the real kernel: signals, sockets, files, and peers that are not ours.

#![allow(clippy::disallowed_methods, reason = "on the real kernel time is the real one")]

mod abuse;
mod access_log;
mod acme;
mod admin;
mod capacity;
mod check;
mod datagrams;
mod demo;
mod drain;
mod envoy;
mod grpc;
mod h2spec;
mod harness;
mod health;
mod http2;
mod identity;
mod nginx;
mod passthrough;
mod reload;
mod resilience;
mod revocations;
mod services;
mod staples;
mod streams;
mod strictness;
mod stuck;
mod tarpit;
mod testssl;
mod tls;
mod trials;
mod websocket;
