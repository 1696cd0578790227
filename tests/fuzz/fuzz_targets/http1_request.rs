//! Any bytes as HTTP/1 requests: two parsers, all cuts, rendering, edits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_wire::http1::property::check_request;

fuzz_target!(|data: &[u8]| check_request(data));
