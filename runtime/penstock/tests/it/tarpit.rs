//! Sources that a service does not serve: reset, or kept at little cost.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use rustix::process::Signal;

use crate::harness::{PATIENCE, Penstock, until};

const DENIED: &str = "penstock_failures_total{cause=\"source_denied\"}";
const FULL: &str = "penstock_failures_total{cause=\"tarpit_full\"}";
const KEPT: &str = "penstock_service_tarpit{service=\"s\"}";
const OPEN: &str = "penstock_connections";

/// A service that denies everybody on this machine.
fn config(vip: &str, port: &str, more: &str) -> String {
    format!(
        "[runtime]\nshards = 1\npin = false\n\
         [service.s]\nvip = \"{vip}\"\nports = \"{port}\"\nto = \"c\"\n\
         deny = [\"127.0.0.0/8\", \"::1/128\"]\n{more}\n\
         [cluster.c]\nendpoints = [\"{vip_port}\"]\n",
        vip_port = if vip.contains(':') { "[::1]:9" } else { "127.0.0.1:9" },
    )
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream
}

#[track_caller]
fn is_reset(mut stream: &TcpStream) {
    let error = stream.read(&mut [0]).expect_err("it is reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_denied_connection_is_reset_and_a_denied_datagram_dropped() {
    for vip in ["127.0.0.1", "::1"] {
        let penstock = Penstock::start(&config(vip, "tcp/0", ""));
        is_reset(&connect(penstock.service_address("s")));
        until("it is counted", || (penstock.metric(DENIED) == 1.0).then_some(()));
        let penstock = Penstock::start(&config(vip, "udp/0", ""));
        let socket = UdpSocket::bind((vip, 0)).expect("a port");
        socket.send_to(b"?", penstock.service_address("s")).expect("it is sent");
        until("it is counted", || (penstock.metric(DENIED) == 1.0).then_some(()));
        assert_eq!(penstock.metric(OPEN), 0.0);
    }
}

#[test]
fn a_kept_connection_costs_little_memory_and_no_time_and_there_are_only_so_many() {
    const WARM: usize = 200;
    const MAX: usize = 2_000;
    let tarpit = format!("tarpit = {{ connections = {MAX}, hold = \"1h\" }}");
    let mut penstock = Penstock::start(&config("127.0.0.1", "tcp/0", &tarpit));
    let address = penstock.service_address("s");
    let kept = |penstock: &Penstock, count: usize| {
        until("they are kept", || (penstock.metric(KEPT) == count as f64).then_some(()));
    };
    let mut streams: Vec<TcpStream> = (0..WARM).map(|_| connect(address)).collect();
    kept(&penstock, WARM);
    let before = penstock.resident_bytes();
    streams.extend((WARM..MAX).map(|_| connect(address)));
    kept(&penstock, MAX);
    let bytes = penstock.resident_bytes().saturating_sub(before) / (MAX - WARM) as u64;
    assert!(bytes < 2_048, "{bytes} bytes for each");
    println!("a connection in the tarpit: {bytes} bytes");
    assert_eq!(penstock.metric(OPEN), MAX as f64);
    // Nobody reads what they send: sooner or later there is no room for more.
    let ticks = penstock.cpu_ticks();
    for stream in &streams {
        stream.set_nonblocking(true).expect("an option");
        let (mut stream, chunk) = (stream, vec![b'x'; 64 << 10]);
        let refused = (0..256).find_map(|_| stream.write(&chunk).err());
        assert_eq!(refused.map(|error| error.kind()), Some(ErrorKind::WouldBlock));
    }
    // A tick is 10 ms: the kernel's own work for what they sent, not 2,000 times ours.
    assert!(penstock.cpu_ticks() - ticks < 100, "they were served");
    is_reset(&connect(address));
    until("it is counted", || (penstock.metric(FULL) == 1.0).then_some(()));
    assert_eq!(penstock.metric(DENIED), MAX as f64);
    // A stop waits for none of them.
    penstock.signal(Signal::TERM);
    assert!(penstock.wait().success(), "{}", penstock.errors());
    let stream = streams.first().expect("there are some");
    stream.set_nonblocking(false).expect("an option");
    is_reset(stream);
}

#[test]
fn a_kept_connection_is_reset_when_its_time_is_over() {
    let penstock = Penstock::start(&config("::1", "tcp/0", "tarpit = { hold = \"1s\" }"));
    let stream = connect(penstock.service_address("s"));
    (&stream).write_all(b"anybody?").expect("it is taken by the kernel");
    is_reset(&stream);
    until("all are gone", || (penstock.metric(OPEN) == 0.0).then_some(()));
    assert_eq!((penstock.metric(KEPT), penstock.metric(DENIED)), (0.0, 1.0));
}
