//! Any bytes as the fields of a gRPC call.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_wire::grpc::property::check_fields;

fuzz_target!(|data: &[u8]| check_fields(data));
