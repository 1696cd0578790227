//! Who asks for much and reads nothing of it.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::harness::{Penstock, config_of, until};

const READERS: u64 = 200;
/// What a shard of 64 buffers has, 4 MiB and 29 KiB for each; 144 KiB for each were seen before
/// anything was done about it.
const EACH_BYTES_MAX: u64 = 80 << 10;

/// Answers whatever is asked without end; how much has been taken of it.
fn endless() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (address, taken) = (listener.local_addr().expect("an address"), Arc::default());
    let told: Arc<AtomicU64> = Arc::clone(&taken);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let taken = Arc::clone(&told);
            std::thread::spawn(move || {
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
                let mut piece = head.to_vec();
                while stream.write_all(&piece).is_ok() {
                    taken.fetch_add(piece.len() as u64, Relaxed);
                    piece.resize(16 << 10, b'x');
                }
            });
        }
    });
    (address, taken)
}

#[test]
fn answers_that_nobody_reads_take_little_memory() {
    let (address, taken) = endless();
    let runtime = "[runtime]\nshards = 1\npin = false\nreceive_buffers = 64\n";
    let penstock = Penstock::start(&(runtime.to_owned() + &config_of(&[address])));
    let before = penstock.resident_bytes();
    let readers: Vec<TcpStream> = (0..READERS)
        .map(|_| {
            let mut stream = TcpStream::connect(penstock.address("web")).expect("it listens");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is taken");
            stream
        })
        .collect();
    let connects = "penstock_cluster_connects_total{cluster=\"app\"}";
    until("all are asked", || (penstock.metric(connects) == READERS as f64).then_some(()));
    // Until nobody takes any more of it.
    let (mut last, mut same) = (0, 0);
    until("all is full", || {
        std::thread::sleep(Duration::from_millis(50));
        let now = taken.load(Relaxed);
        same = if now > 0 && now == last { same + 1 } else { 0 };
        last = now;
        (same == 10).then_some(())
    });
    let each = penstock.resident_bytes().saturating_sub(before) / READERS;
    assert!(each < EACH_BYTES_MAX, "{} KiB each", each >> 10);
    drop(readers);
}
