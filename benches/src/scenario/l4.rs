//! TCP and UDP carried by proxies that look at nothing: much on few connections, little on many,
//! and connections on which nothing moves.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::idle;
use crate::run::REQUEST;
use crate::{Bench, BenchError, Figure, Peer, Plan, Report, Spoken};

/// Downloads over some connections; CPU milliseconds per GiB.
///
/// # Errors
/// See [`Bench::start`].
pub fn l4_bulk(plan: Plan, peers: &[Peer]) -> Result<Report, BenchError> {
    let plan = Plan { spoken: Spoken::Tcp, body_bytes: BODY_BYTES, ..plan };
    let mut bench = Bench::start(plan, peers)?;
    let mut report = Report::new("TCP, bulk", "Downloads of 64 MiB, one after the other.", &bench);
    report.with_unit("CPU ms per GiB");
    report.with_rate("MiB");
    let work = |address: SocketAddr, going: &AtomicBool, done: &AtomicU64| {
        let mut stream = connect(address)?;
        let mut input = vec![0; 256 << 10];
        while going.load(Relaxed) {
            stream.write_all(REQUEST)?;
            let mut bytes = 0;
            // The head of the answer is not worth counting, nor is its end awaited exactly.
            while bytes < BODY_BYTES && going.load(Relaxed) {
                let read = stream.read(&mut input)?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                bytes += read;
                done.fetch_add(read as u64, Relaxed);
            }
        }
        Ok(())
    };
    for connections in [1, 8] {
        let section = report.section(format!("{connections} connections"));
        rounds(&mut bench, connections, work, |peer, turn| {
            let gib = turn.done as f64 / f64::from(1 << 30);
            let cost = turn.cpu.as_secs_f64() * 1e3 / gib;
            let requests_per_second = turn.done as f64 / f64::from(1 << 20) / turn.wall;
            let figure =
                Figure { cost, errors: turn.errors, requests_per_second, ..Figure::default() };
            report.add(section, peer, figure);
        })?;
    }
    Ok(report)
}

/// Connections with one byte on each; CPU microseconds per connection.
///
/// # Errors
/// See [`Bench::start`].
pub fn l4_connections(plan: Plan, peers: &[Peer]) -> Result<Report, BenchError> {
    let mut bench = Bench::start(Plan { spoken: Spoken::Tcp, ..plan }, peers)?;
    let method = "Connect, one byte, our end, the other's end.";
    let mut report = Report::new("TCP, connections", method, &bench);
    report.with_unit("us CPU per connection");
    report.with_rate("connections");
    let work = |address: SocketAddr, going: &AtomicBool, done: &AtomicU64| {
        while going.load(Relaxed) {
            let mut stream = connect(address)?;
            stream.write_all(b"x")?;
            stream.shutdown(Shutdown::Write)?;
            stream.read_to_end(&mut Vec::new())?;
            done.fetch_add(1, Relaxed);
        }
        Ok(())
    };
    for workers in [1, 32] {
        let section = report.section(format!("{workers} at a time"));
        rounds(&mut bench, workers, work, |peer, turn| {
            report.add(section, peer, turn.per_piece());
        })?;
    }
    Ok(report)
}

/// Datagrams there and back; CPU microseconds per question and answer.
///
/// # Errors
/// See [`Bench::start`].
pub fn l4_datagrams(plan: Plan, peers: &[Peer]) -> Result<Report, BenchError> {
    let mut bench = Bench::start(Plan { spoken: Spoken::Udp, ..plan }, peers)?;
    let method = "Questions by a socket for each flow, then their answers, again and again.";
    let mut report = Report::new("UDP", method, &bench);
    report.with_unit("us CPU per answer");
    for (flows, burst, bytes) in [(1, 1, 64), (64, 1, 64), (16, 16, 1_200)] {
        let section = report.section(format!("{flows} flows, {burst} x {bytes} bytes at a time"));
        let work = |address: SocketAddr, going: &AtomicBool, done: &AtomicU64| {
            let socket = UdpSocket::bind((address.ip(), 0))?;
            socket.connect(address)?;
            // One that was lost ends a burst, and is not counted.
            socket.set_read_timeout(Some(LOST_AFTER))?;
            let (question, mut answer) = (vec![b'x'; bytes], vec![0; bytes]);
            while going.load(Relaxed) {
                for _ in 0..burst {
                    socket.send(&question)?;
                }
                let answers = (0..burst).take_while(|_| socket.recv(&mut answer).is_ok());
                done.fetch_add(answers.count() as u64, Relaxed);
            }
            Ok(())
        };
        rounds(&mut bench, flows, work, |peer, turn| {
            report.add(section, peer, turn.per_piece());
        })?;
    }
    Ok(report)
}

/// The idle scenario with connections that are carried.
///
/// # Errors
/// See [`idle`].
pub fn l4_idle(plan: Plan, peers: &[Peer]) -> Result<Report, BenchError> {
    idle(Plan { spoken: Spoken::Tcp, ..plan }, peers)
}

/// What came of a proxy's turn.
struct Turn {
    cpu: Duration,
    wall: f64,
    done: u64,
    errors: u64,
}

impl Turn {
    /// By what each piece of work cost, in microseconds of CPU.
    fn per_piece(&self) -> Figure {
        Figure {
            cost: self.cpu.as_secs_f64() * 1e6 / self.done as f64,
            requests: self.done,
            requests_per_second: self.done as f64 / self.wall,
            errors: self.errors,
            ..Figure::default()
        }
    }
}

/// Gives each proxy its turns, in which this many threads do `work`.
fn rounds(
    bench: &mut Bench,
    threads: usize,
    work: impl Fn(SocketAddr, &AtomicBool, &AtomicU64) -> io::Result<()> + Sync,
    mut note: impl FnMut(Peer, Turn),
) -> Result<(), BenchError> {
    let Bench { plan, contestants, .. } = bench;
    stay_on(plan.load_core)?;
    for _ in 0..plan.rounds {
        for contestant in contestants.iter_mut() {
            let (going, done) = (AtomicBool::new(true), AtomicU64::new(0));
            let errors = AtomicU64::new(0);
            let turn = thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        if work(contestant.address, &going, &done).is_err() {
                            errors.fetch_add(1, Relaxed);
                        }
                    });
                }
                // Under way: what a begin costs is not asked here.
                thread::sleep(WARM_TIME);
                let (before, from) = (contestant.process.cpu(), done.load(Relaxed));
                let begun = Instant::now();
                thread::sleep(Duration::from_secs(plan.seconds));
                let cpu = contestant.process.cpu().saturating_sub(before);
                let (done, wall) = (done.load(Relaxed) - from, begun.elapsed().as_secs_f64());
                going.store(false, Relaxed);
                Turn { cpu, wall, done, errors: 0 }
            });
            note(contestant.peer, Turn { errors: errors.load(Relaxed), ..turn });
            contestant.still_there()?;
        }
    }
    Ok(())
}

/// Pins this thread, and those that it starts.
fn stay_on(core: usize) -> Result<(), BenchError> {
    let own = std::process::id().to_string();
    let output = Command::new("taskset").args(["-c", "-p", &core.to_string(), &own]).output();
    output.map(drop).map_err(BenchError::io("pinning the load"))
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

const BODY_BYTES: usize = 64 << 20;
const LOST_AFTER: Duration = Duration::from_millis(200);
const WARM_TIME: Duration = Duration::from_millis(200);
