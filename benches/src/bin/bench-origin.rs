//! The measuring origin as a program: `bench-origin ADDRESS [BODY_BYTES [h2]]`.
//!
//! The harness starts it pinned to the load generator's core. It logs nothing.

#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::process::ExitCode;

use penstock_benches::{origin, origin_h2};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next();
    let body_bytes = arguments.next().map_or(Ok(512), |text| text.parse());
    let is_h2 = match arguments.next().as_deref() {
        None | Some("http/1.1") => Some(false),
        Some("h2") => Some(true),
        Some(_) => None,
    };
    let (Some(address), Ok(body_bytes), Some(is_h2)) = (address, body_bytes, is_h2) else {
        eprintln!("usage: bench-origin ADDRESS [BODY_BYTES [http/1.1 | h2]]");
        return ExitCode::from(2);
    };
    let result = TcpListener::bind(&address).and_then(|listener| match is_h2 {
        true => origin_h2::serve(listener, body_bytes),
        false => origin::serve(&listener, body_bytes),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-origin: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}
