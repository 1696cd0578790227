//! Any bytes as frames, one after another: verdicts, rewrites, flows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_l4::testing::check_bytes;

fuzz_target!(|data: &[u8]| check_bytes(data));
