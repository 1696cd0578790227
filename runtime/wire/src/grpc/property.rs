//! What must hold for any bytes whatever, shared by the seeded tests and the fuzz target.

use std::time::Duration;

use super::{Code, Kind, Timeout};

/// Fields are read or refused, and what is read says no more than is there.
pub fn check_fields(input: &[u8]) {
    if let Some(timeout) = Timeout::of_field(input) {
        let mut field = Vec::new();
        timeout.put(&mut field);
        let again = Timeout::of_field(&field).expect("what is written can be read");
        // Nothing is longer than what it was read from, but for no time, which has no field.
        assert!(again.duration() <= timeout.duration().max(Duration::from_nanos(1)));
    }
    if let Some(code) = Code::of_field(input) {
        assert!(code.digits().as_bytes() == input || code == Code::Unknown);
    }
    if Kind::of_field(input).is_some() {
        assert!(input[..16].eq_ignore_ascii_case(b"application/grpc"));
    }
}
