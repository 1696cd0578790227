//! Frames by the hundred thousand out of the kernel itself, and what they cost.

use std::path::PathBuf;
use std::time::Duration;

use aya::maps::Array;
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use penstock_l4::testing::repair_v4_header;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Sends frames of some flows, in turn: 10.1.0.2 and ports from `port` on, to port 53 of 10.9.0.10.
///
/// No socket: the kernel runs a program over frames that nobody has sent, as it does for a network
/// card, and puts them where that says (`BPF_F_TEST_XDP_LIVE_FRAMES`).
pub struct Sender {
    plain: Ebpf,
}

impl Sender {
    /// Out of the interface `device` of this thread's namespace, between two stations.
    pub fn new(object: &[u8], device: u32, stations: [[u8; 6]; 2], port: u16, flows: u32) -> Self {
        let mut plain = EbpfLoader::new().btf(None).load(object).unwrap_or_else(|e| panic!("{e}"));
        let mut template = [0; 80];
        template[..FRAME_BYTES].copy_from_slice(&frame(stations));
        for (at, number) in [(64, device), (68, u32::from(port)), (72, flows)] {
            template[at..at + 4].copy_from_slice(&number.to_ne_bytes());
        }
        let map = plain.map_mut("TEMPLATE").expect("it is in the object");
        let mut map: Array<_, [u8; 80]> = map.try_into().expect("it is an array");
        map.set(0, template, 0).unwrap_or_else(|error| panic!("{error}"));
        let program = plain.program_mut("source").expect("it is in the object");
        let program: &mut Xdp = program.try_into().expect("it is one of XDP");
        program.load().unwrap_or_else(|error| panic!("{error}"));
        Sender { plain }
    }

    /// Sends `count` frames from one processor, and says what CPU time that took: this thread's,
    /// and that of its processor's softirq thread.
    pub fn send(&self, count: u32, core: usize) -> Duration {
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).expect("there is such a processor");
        let program = self.plain.program("source").expect("it was loaded");
        let program: &Xdp = program.try_into().expect("as before");
        let frame = [0; FRAME_BYTES];
        let mut options = TestRunOptions::new();
        (options.data_in, options.repeat) = (Some(&frame[..]), count);
        options.attrs = TestRunAttrs::new().xdp_live_frames(64);
        let before = cpu_time(core);
        program.test_run(options).expect("the kernel runs a loaded program");
        cpu_time(core) - before
    }
}

/// CPU time of this thread and of a processor's softirq thread.
fn cpu_time(core: usize) -> Duration {
    let name = format!("ksoftirqd/{core}");
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let softirq = processes.map(|entry| entry.path()).find(|path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
    });
    let softirq = softirq.expect("each processor has one");
    [PathBuf::from("/proc/thread-self"), softirq]
        .map(|path| std::fs::read_to_string(path.join("schedstat")).expect("the kernel has it"))
        .iter()
        .map(|text| text.split(' ').next().and_then(|nanos| nanos.parse().ok()))
        .map(|nanos| Duration::from_nanos(nanos.expect("it begins with a number")))
        .sum()
}

/// 64 bytes: Ethernet, IPv4, UDP, 22 bytes of payload.
fn frame([from, to]: [[u8; 6]; 2]) -> [u8; FRAME_BYTES] {
    let mut frame = [0; FRAME_BYTES];
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&from);
    frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 17]);
    frame[26..34].copy_from_slice(&[10, 1, 0, 2, 10, 9, 0, 10]);
    repair_v4_header(&mut frame);
    // No checksum of UDP: over IPv4 that is allowed, and nobody has to look at it.
    frame[36..40].copy_from_slice(&[0, 53, 0, 30]);
    frame
}

const FRAME_BYTES: usize = 64;
