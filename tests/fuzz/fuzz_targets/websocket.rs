//! Any bytes as frames of a WebSocket, cut anywhere.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_wire::websocket::property::check_frames;

fuzz_target!(|data: &[u8]| check_frames(data));
