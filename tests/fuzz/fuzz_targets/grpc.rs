//! Any bytes as the fields of a gRPC call, as its messages, and as gRPC-Web's text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_wire::grpc::property::check_grpc;

fuzz_target!(|data: &[u8]| check_grpc(data));
