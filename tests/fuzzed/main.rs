//! The fuzz targets as they are, compiled and given some bytes: they are a workspace of their own,
//! for a nightly compiler, and would break unseen.

// `no_main`, which each of them says of itself.
#![allow(unused_attributes, reason = "here they are modules")]

use std::path::Path;

use penstock_env::Rng;

extern crate self as libfuzzer_sys;

#[path = "../fuzz/fuzz_targets/config.rs"]
mod config;
#[path = "../fuzz/fuzz_targets/datagrams.rs"]
mod datagrams;
#[path = "../fuzz/fuzz_targets/filter_hostcalls.rs"]
mod filter_hostcalls;
#[path = "../fuzz/fuzz_targets/grpc.rs"]
mod grpc;
#[path = "../fuzz/fuzz_targets/http1_chunked.rs"]
mod http1_chunked;
#[path = "../fuzz/fuzz_targets/http1_request.rs"]
mod http1_request;
#[path = "../fuzz/fuzz_targets/http1_response.rs"]
mod http1_response;
#[path = "../fuzz/fuzz_targets/http2_session.rs"]
mod http2_session;
#[path = "../fuzz/fuzz_targets/l4.rs"]
mod l4;
#[path = "../fuzz/fuzz_targets/proxy_header.rs"]
mod proxy_header;
#[path = "../fuzz/fuzz_targets/retry_after.rs"]
mod retry_after;
#[path = "../fuzz/fuzz_targets/tls_hello.rs"]
mod tls_hello;
#[path = "../fuzz/fuzz_targets/tls_records.rs"]
mod tls_records;
#[path = "../fuzz/fuzz_targets/websocket.rs"]
mod websocket;

/// What libfuzzer-sys makes of it is an entry for the fuzzer.
#[macro_export]
macro_rules! fuzz_target {
    (|$input:ident: &[u8]| $body:expr) => {
        #[test]
        fn takes_bytes() {
            for input in $crate::inputs() {
                let $input: &[u8] = &input;
                $body;
            }
        }
    };
}

/// Nothing, and some of each length.
fn inputs() -> impl Iterator<Item = Vec<u8>> {
    let mut rng = Rng::new(1);
    (0..64).map(move |length| (0..length).map(|_| rng.below(256) as u8).collect())
}

#[test]
fn all_are_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let source = include_str!("main.rs");
    for file in std::fs::read_dir(folder).expect("the fuzz targets") {
        let name = file.expect("a file").file_name();
        let name = name.to_str().expect("UTF-8").trim_end_matches(".rs");
        assert!(source.contains(&format!("\nmod {name};\n")), "{name}");
    }
}
