//! Any bytes as what the kernel says beside datagrams, and as trains of them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_shard::property::check_datagrams;

fuzz_target!(|data: &[u8]| check_datagrams(data));
