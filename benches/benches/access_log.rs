//! What a line of the access log costs: nanoseconds to fill a record, to carry it to the writing
//! thread, and to write it in either format.
//!
//! `cargo bench -p penstock-benches --bench access_log`. Not a load test: what the log costs a
//! whole process, `cargo xtask bench-peers` shows.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use penstock_env::Unix;
use penstock_shard::records;
use penstock_telemetry::access::{AccessRecord, Format, Names, Peer, Protocol};

fn main() {
    let names = Names {
        services: Vec::new(),
        listeners: vec!["web".into()],
        routes: vec![vec!["0".into()]],
        clusters: vec!["app".into()],
        causes: &[],
        codes: &[],
        suites: &[],
    };
    for (name, texts) in [("wrk", &WRK), ("browser", &BROWSER)] {
        let mut record = AccessRecord::new(START);
        fill(&mut record, 0, texts);
        for (format, formatted) in [("json", Format::Json), ("text", Format::Text)] {
            let mut out = Vec::with_capacity(BATCH_BYTES + 4096);
            // As the log sees it: times go on, and lines gather until they are written.
            measure(&format!("{name}: format as {format}"), || {
                record.start.us += 10;
                formatted.write(black_box(&record), &names, &mut out);
                if out.len() >= BATCH_BYTES {
                    black_box(&out);
                    out.clear();
                }
            });
        }
        let (mut sender, mut reader) = records(RING_RECORDS, record, &Arc::default());
        let mut time = 0;
        measure(&format!("{name}: fill a record in the ring, and read it"), || {
            time += 10;
            assert!(sender.push(|record| fill(record, black_box(time), texts)));
            if time.is_multiple_of(5_120) {
                reader.read(|record| {
                    black_box(record.status);
                });
            }
        });
    }
}

fn fill(record: &mut AccessRecord, after_us: u64, texts: &[&str; 5]) {
    record.begin(Unix { us: START.us + after_us });
    record.total_us = 1_873;
    record.phases.head_us = 3;
    record.phases.first_byte_us = 1_652;
    (record.bytes_in, record.bytes_out) = (412, 5_310);
    record.downstream = Peer::Ip([192, 0, 2, 117].into(), 50_123);
    record.endpoint = Peer::Ip([10, 17, 4, 91].into(), 8080);
    (record.route, record.cluster, record.snapshot) = (Some(0), Some(0), 1);
    (record.status, record.attempts, record.protocol) = (200, 1, Protocol::Http11);
    record.put_all(black_box(*texts).map(str::as_bytes));
}

/// Prints the median of 31 runs of 20,000 calls.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures with the real clock")]
fn measure(name: &str, mut call: impl FnMut()) {
    let mut runs: Vec<f64> = (0..31)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..CALLS {
                call();
            }
            start.elapsed().as_nanos() as f64 / f64::from(CALLS)
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    println!("{name:50} {:8.1} ns (best {:.1})", runs[15], runs[0]);
}

const CALLS: u32 = 20_000;
const BATCH_BYTES: usize = 256 * 1024;
const RING_RECORDS: usize = 4096;
/// 2026-11-22T08:31:13Z.
const START: Unix = Unix { us: 1_795_336_273_000_000 };

/// In the order of `Text::OF_REQUEST`.
const WRK: [&str; 5] = ["GET", "127.0.0.1:8085", "/", "", ""];
const BROWSER: [&str; 5] = [
    "GET",
    "shop.example.com",
    "/api/v1/users/42/orders?limit=20&after=2026-11-01",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "https://shop.example.com/account/orders",
];
