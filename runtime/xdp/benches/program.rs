//! What the XDP program costs per packet, beside the same written in C (`plain.c`).
//!
//! `cargo bench -p penstock-xdp`, as root, with clang. Both run over the same maps, turn by turn,
//! on the same frame of a known flow; the time is the kernel's own, of each run of a program alone
//! (`BPF_ENABLE_STATS`). An empty program shows how much of it is the measuring.

#![allow(clippy::disallowed_methods, reason = "a bench lives in real time")]
#![allow(dead_code, reason = "the harness is that of the tests")]

#[path = "../tests/it/harness/mod.rs"]
mod harness;
mod support;

use aya::EbpfLoader;
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::sys::{Stats, enable_stats};
use penstock_l4::testing::repair_v4_header;
use penstock_l4::value::mode;
use penstock_xdp::Kernel;

use harness::site::world;
use harness::{BpfFolder, fill, kernel_is_there};
use support::compiled;

fn main() {
    // Cargo runs benches as tests, too: then there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") || !kernel_is_there() {
        return;
    }
    let Some(bytes) = compiled("plain.c") else {
        println!("skipped: needs clang");
        return;
    };
    let _measuring = enable_stats(Stats::RunTime).expect("root may measure");
    for (name, mode) in [("gre", mode::DSR), ("nat", mode::NAT)] {
        let folder = BpfFolder::new();
        let mut kernel =
            Kernel::start(&folder.options(), &[]).unwrap_or_else(|error| panic!("{error}"));
        fill(&world(mode), kernel.tables()).unwrap_or_else(|error| panic!("{error}"));
        let maps = folder.options().root.join("test/maps-1");
        let mut plain = EbpfLoader::new();
        plain.btf(None).default_map_pin_directory(maps);
        let mut plain = plain.load(&bytes).unwrap_or_else(|error| panic!("{error}"));
        for name in ["plain", "empty"] {
            let program = plain.program_mut(name).expect("it is in the object");
            let program: &mut Xdp = program.try_into().expect("it is one of XDP");
            program.load().unwrap_or_else(|error| panic!("{error}"));
        }
        let program = |name| -> &Xdp {
            plain.program(name).expect("it was loaded").try_into().expect("as before")
        };
        let ours = kernel.program().expect("it is loaded");
        let frame = known_flow(ours, mode);
        let programs = [ours, program("plain"), program("empty")];
        // It has to be the same work.
        assert_eq!(run(ours, &frame), run(programs[1], &frame), "{name}");
        report(name, programs, &frame);
    }
}

/// A frame of a flow that has proven to have two ends.
fn known_flow(program: &Xdp, mode: u8) -> Vec<u8> {
    let sent = run(program, &frame(SYN)).1;
    if mode == mode::NAT {
        // The backend's answer: what it was sent, turned round. No sum changes by that.
        let mut answer = sent;
        let (ip, ports) = (14 + 12, 14 + 20);
        answer[ip..ip + 8].rotate_left(4);
        answer[ports..ports + 4].rotate_left(2);
        answer[FLAGS] = SYN | ACK;
        run(program, &answer);
    }
    run(program, &frame(ACK));
    frame(ACK)
}

/// 60 bytes of Ethernet from a client to port 80 of the first VIP.
fn frame(flags: u8) -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    frame[14..24].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6]);
    frame[26..34].copy_from_slice(&[10, 1, 0, 2, 10, 9, 0, 10]);
    repair_v4_header(&mut frame);
    frame[34..38].copy_from_slice(&[0x9c, 0x40, 0, 80]);
    (frame[46], frame[FLAGS]) = (0x50, flags);
    // Nobody looks at it, but that it is not that of the pseudo-header alone.
    frame[50..52].copy_from_slice(&[0x12, 0x34]);
    frame
}

fn run(program: &Xdp, frame: &[u8]) -> (u32, Vec<u8>) {
    let mut out = vec![0; 256];
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.data_out = Some(&mut out);
    let result = program.test_run(options).expect("the kernel runs a loaded program");
    out.truncate(result.data_size_out as usize);
    (result.return_value, out)
}

/// Runs them turn by turn and prints the medians.
fn report(name: &str, programs: [&Xdp; 3], frame: &[u8]) {
    let mut nanos = [const { Vec::new() }; 3];
    for _ in 0..TURNS {
        for (program, nanos) in programs.iter().zip(&mut nanos) {
            let before = program.info().expect("it is loaded");
            for _ in 0..RUNS {
                let mut options = TestRunOptions::new();
                options.data_in = Some(frame);
                program.test_run(options).expect("the kernel runs a loaded program");
            }
            let after = program.info().expect("it is loaded");
            let runs = after.run_count() - before.run_count();
            let time = after.run_time() - before.run_time();
            nanos.push(time.as_nanos() as f64 / runs as f64);
        }
    }
    let [ours, plain, empty] = nanos.map(|mut nanos| {
        nanos.sort_by(f64::total_cmp);
        nanos[TURNS / 2]
    });
    let ratio = ours / plain;
    println!("{name}: ours {ours:.0} ns, C {plain:.0} ns, {ratio:.2} x; empty {empty:.0} ns");
}

const TURNS: usize = 31;
const RUNS: usize = 5_000;
/// Where the flags of TCP stand in a frame.
const FLAGS: usize = 47;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
