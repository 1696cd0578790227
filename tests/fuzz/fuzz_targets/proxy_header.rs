//! Any bytes as the start of a proxied connection: all cuts, and what is read written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_wire::proxy_protocol::property::check_header;

fuzz_target!(|data: &[u8]| check_header(data));
