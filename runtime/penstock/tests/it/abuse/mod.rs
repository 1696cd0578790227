//! What peers do to harm, against the binary: each attack is ended by its name, takes no memory to
//! speak of, and a client beside it hardly notices.
//!
//! `attacks` is what is sent, `handshakes` those of TLS that do not go on, `readers` those who read
//! nothing. What comes back, frame by frame, is looked at in the simulated world
//! (`tests/sim/http2/abuse.rs`, `tests/sim/strict.rs`), with many more of them.

mod attacks;
mod handshakes;
mod readers;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::harness::{Client, Origin, PATIENCE, Penstock};
use attacks::{Attack, Reads};

/// Connections that attack at a time; as one ends, another is opened.
const CONNECTIONS: usize = 16;
/// How long they go on, at least.
const ATTACK: Duration = Duration::from_millis(1_200);
/// How soon one that was ended comes back.
const RECONNECT: Duration = Duration::from_secs(1);
/// What all of them together may have the process hold.
const GROWTH_BYTES_MAX: u64 = 16 << 20;
/// Requests of the client beside them from which its latency is told.
const SAMPLES_MIN: usize = 200;
/// Noise of a busy machine, which is no doing of the attack.
const NOISE: Duration = Duration::from_millis(250);
/// A machine that was busy with something else has its chance to be not.
const ROUNDS_MAX: usize = 8;

#[test]
fn attacks_are_ended_by_name_and_a_client_beside_them_hardly_notices() {
    // What attackers ask for is not what the client beside them does: how an origin bears up is its
    // own affair.
    let (own, theirs) = (Origin::named("hello"), Origin::start(answer_attackers));
    let penstock = Penstock::start(&config(own.address, theirs.address));
    let address = penstock.address("web");
    warm_up(address);
    let mut usual = neighbour(address, &AtomicBool::new(true));
    let attacks = attacks::all();
    assert!(attacks.len() >= 40, "{}", attacks.len());
    let mut failed = Vec::new();
    for attack in &attacks {
        for round in 1.. {
            let seen = measure(&penstock, address, attack);
            let text = format!(
                "{}: {} of {CONNECTIONS} named, {} KiB more, p99 {:?} beside it, usually {usual:?}",
                attack.name,
                seen.named,
                seen.growth_bytes >> 10,
                seen.latency
            );
            let _ = writeln!(std::io::stderr(), "{text}");
            let named = attack.causes.is_empty() || seen.named >= CONNECTIONS as u64;
            let quick = seen.latency < 2 * usual + NOISE;
            if !named || seen.growth_bytes >= GROWTH_BYTES_MAX || (!quick && round == ROUNDS_MAX) {
                failed.push(text);
                break;
            }
            if quick {
                break;
            }
            usual = usual.max(neighbour(address, &AtomicBool::new(true)));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

fn answer_attackers(head: &str) -> String {
    if head.contains("/hang") {
        std::thread::sleep(Duration::from_secs(3));
    }
    let body = if head.contains("/large") { "x".repeat(1 << 20) } else { String::new() };
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn config(own: SocketAddr, theirs: SocketAddr) -> String {
    format!(
        "[listener.web]\naddress = \"127.0.0.1:0\"\n\
         timeouts = {{ request_head = \"1s\", body_stall = \"1s\", body_rate_after = \"1s\", \
         write_stall = \"1s\", keep_alive = \"5s\" }}\nlimits.connections_per_source = 4000\n\
         [[listener.web.route]]\nhost = \"example.com\"\nto = \"app\"\n\
         [[listener.web.route]]\nto = \"attacked\"\n[cluster.app]\nendpoints = [\"{own}\"]\n\
         [cluster.attacked]\nendpoints = [\"{theirs}\"]\nlimits.connections = 64\n"
    )
}

/// What a shard allocates once, and keeps, is not an attack's doing.
fn warm_up(address: SocketAddr) {
    std::thread::scope(|scope| {
        for _ in 0..2 * CONNECTIONS {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                for _ in 0..3 {
                    let request = "GET /large HTTP/1.1\r\nHost: a\r\n\r\n";
                    client.send(request).expect("it is taken");
                    client.reply().expect("an answer");
                }
            });
        }
    });
}

/// What was seen of an attack.
struct Seen {
    /// How often it was ended by its name.
    named: u64,
    growth_bytes: u64,
    /// The 99th percentile beside it.
    latency: Duration,
}

fn measure(penstock: &Penstock, address: SocketAddr, attack: &Attack) -> Seen {
    let counted = || -> u64 {
        let name = |cause| format!("penstock_failures_total{{cause=\"{cause}\"}}");
        attack.causes.iter().map(|cause| penstock.metric(&name(cause)) as u64).sum()
    };
    let (before, bytes_before) = (counted(), penstock.resident_bytes());
    let (stop, mut named, mut bytes_max) = (AtomicBool::new(false), 0, 0);
    let latency = std::thread::scope(|scope| {
        (0..CONNECTIONS).for_each(|_| drop(scope.spawn(|| attack_on(address, attack, &stop))));
        let beside = scope.spawn(|| neighbour(address, &stop));
        let (begun, all) = (Instant::now(), CONNECTIONS as u64);
        let waits = |named| !attack.causes.is_empty() && named < all;
        while begun.elapsed() < if waits(named) { PATIENCE } else { ATTACK } {
            std::thread::sleep(Duration::from_millis(50));
            bytes_max = bytes_max.max(penstock.resident_bytes());
            named = counted() - before;
        }
        stop.store(true, Relaxed);
        beside.join().expect("every request is answered")
    });
    Seen { named, growth_bytes: bytes_max.saturating_sub(bytes_before), latency }
}

/// Attacks until it is told to stop, on one connection after the other.
fn attack_on(address: SocketAddr, attack: &Attack, stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        if let Ok(stream) = TcpStream::connect(address) {
            stream.set_nonblocking(true).expect("an option");
            attack_once(stream, attack, stop);
        }
        let again = Instant::now() + RECONNECT;
        while Instant::now() < again && !stop.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Until the other side ends it.
fn attack_once(mut stream: TcpStream, attack: &Attack, stop: &AtomicBool) {
    let (mut pending, mut number, mut room) = (attack.first.clone(), 0, vec![0; 64 << 10]);
    while !stop.load(Relaxed) {
        match stream.write(&pending) {
            Ok(count) => drop(pending.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        if attack.reads == Reads::All && is_over(&mut stream, &mut room) {
            return;
        }
        if pending.is_empty() {
            let Some(more) = (attack.again)(number) else { return };
            (number, pending) = (number + 1, more);
        }
        std::thread::sleep(attack.pause);
    }
}

/// Reads what is there; whether the other side has ended.
fn is_over(stream: &mut TcpStream, room: &mut [u8]) -> bool {
    loop {
        match stream.read(room) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// The 99th percentile of a client that does as it should, until it is told to stop and has asked
/// often enough.
fn neighbour(address: SocketAddr, stop: &AtomicBool) -> Duration {
    let (mut client, mut took) = (Client::connect(address), Vec::new());
    while took.len() < SAMPLES_MIN || !stop.load(Relaxed) {
        let asked = Instant::now();
        let reply = client.get("/").expect("an answer");
        took.push(asked.elapsed());
        assert_eq!((reply.status, &*reply.body), (200, "hello"));
        std::thread::sleep(Duration::from_millis(2));
    }
    took.sort_unstable();
    took[took.len() * 99 / 100]
}
