//! Any bytes as a config: findings at their places, or a config that reads the same again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_config::property::reading_is_sound;

fuzz_target!(|data: &[u8]| reading_is_sound(data));
