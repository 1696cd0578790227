//! Any bytes as a `Retry-After`: seconds, a date in one of three forms, or neither.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_wire::http1::property::check_retry_after;

fuzz_target!(|data: &[u8]| check_retry_after(data));
