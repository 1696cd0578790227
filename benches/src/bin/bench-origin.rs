//! The measuring origin as a program: `bench-origin ADDRESS [BODY_BYTES [h2 | udp]]`.
//!
//! The harness starts it pinned to the load generator's core. It logs nothing.

#![forbid(unsafe_code)]

use std::net::{TcpListener, UdpSocket};
use std::process::ExitCode;

use penstock_benches::{origin, origin_datagrams, origin_h2};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next();
    let body_bytes = arguments.next().map_or(Ok(512), |text| text.parse());
    let spoken = arguments.next().unwrap_or_else(|| "http/1.1".to_owned());
    let (Some(address), Ok(body_bytes)) = (address, body_bytes) else { return usage() };
    let listen = || TcpListener::bind(&address);
    let result = match spoken.as_str() {
        "http/1.1" => listen().and_then(|listener| origin::serve(&listener, body_bytes)),
        "h2" => listen().and_then(|listener| origin_h2::serve(listener, body_bytes)),
        "udp" => UdpSocket::bind(&address).and_then(|socket| origin_datagrams::serve(&socket)),
        _ => return usage(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-origin: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: bench-origin ADDRESS [BODY_BYTES [http/1.1 | h2 | udp]]");
    ExitCode::from(2)
}
