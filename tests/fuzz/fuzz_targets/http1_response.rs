//! Any bytes as HTTP/1 responses: two parsers, all cuts, rendering.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_wire::http1::property::check_response;

fuzz_target!(|data: &[u8]| check_response(data));
