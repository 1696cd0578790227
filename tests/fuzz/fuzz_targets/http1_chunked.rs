//! Any bytes as HTTP/1 chunked bodies: all cuts, trailers, encoding and decoding.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_wire::http1::property::check_chunked;

fuzz_target!(|data: &[u8]| check_chunked(data));
