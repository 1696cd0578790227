//! Any series of hostcalls with any arguments: no panic, no trap, no answer that the ABI has not.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_filter_host::property::filter_hostcalls;

fuzz_target!(|data: &[u8]| filter_hostcalls(data));
