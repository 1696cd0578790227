//! Any bytes as the start of a TLS connection: all cuts.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_wire::tls_hello::property::check_hello;

fuzz_target!(|data: &[u8]| check_hello(data));
