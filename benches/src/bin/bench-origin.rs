//! The measuring origin as a program: `bench-origin ADDRESS [BODY_BYTES]`.
//!
//! The harness starts it pinned to the load generator's core. It logs nothing.

#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next();
    let body_bytes = arguments.next().map_or(Ok(512), |text| text.parse());
    let (Some(address), Ok(body_bytes)) = (address, body_bytes) else {
        eprintln!("usage: bench-origin ADDRESS [BODY_BYTES]");
        return ExitCode::from(2);
    };
    let result = TcpListener::bind(&address)
        .and_then(|listener| penstock_benches::origin::serve(&listener, body_bytes));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-origin: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}
