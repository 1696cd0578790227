//! Any bytes as what one side of a live session of HTTP/2 says: a client, or an origin.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_tests::http2_session::check_session;

fuzz_target!(|data: &[u8]| check_session(data));
