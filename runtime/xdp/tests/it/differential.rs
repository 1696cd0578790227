//! The program in the kernel and the same code in userland: the same bytes, verdicts and counts.

use aya::programs::{TestRun, TestRunOptions, Xdp};
use penstock_l4::memory::Limits;
use penstock_l4::testing::{ETHERNET_BYTES, Generator, World, world};
use penstock_l4::value::{Counters, Timeouts};
use penstock_l4::{Buffer, MemoryTables, Subject, Tenure, Verdict, handle};
use penstock_xdp::{Kernel, now};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::harness::{BpfFolder, fill, kernel_is_there};

/// Packets to each VIP at least; there is one for each mode, encapsulation and family.
const PACKETS_PER_VIP_MIN: u64 = 10_000;
/// The interface that test runs come in on: the loopback.
const LOOPBACK: u32 = 1;
/// In ticks.
const DAY: u32 = 86_400_000;
/// `enum xdp_action` of `linux/bpf.h`.
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

#[test]
fn the_kernel_does_with_every_packet_what_userland_does() {
    if !kernel_is_there() {
        return;
    }
    // Ports are taken from the lane of the processor: both have to be on the same one.
    let mut first = CpuSet::new();
    first.set(0);
    sched_setaffinity(None, &first).expect("processor 0 is there");
    let folder = BpfFolder::new();
    let mut kernel = Kernel::start(&folder.options(), &[]).unwrap_or_else(|e| panic!("{e}"));
    let world = timeless(world());
    let mut memory = MemoryTables::new(world.settings, &LIMITS, 0);
    fill(&world, &mut memory).unwrap_or_else(|error| panic!("{error}"));
    fill(&world, kernel.tables()).unwrap_or_else(|error| panic!("{error}"));
    let (mut frames, mut sent) = (0, 0);
    for seed in 1.. {
        let mut generator = Generator::new(seed, &world);
        for number in 0..20_000 {
            let frame = generator.frame();
            // The kernel has no shorter ones.
            if frame.len() < ETHERNET_BYTES {
                continue;
            }
            let (action, after) = in_kernel(kernel.program().expect("it is loaded"), &frame);
            let mut packet = Buffer::<ETHERNET_BYTES>::new(&frame, LOOPBACK);
            let verdict = handle(&mut packet, &memory, now());
            let what = format!("seed {seed}, frame {number}: {verdict:?}\n{frame:02x?}");
            assert_eq!(action, action_of(verdict), "{what}");
            if action != XDP_DROP {
                assert_eq!(after, packet.as_slice(), "{what}");
            }
            if action == XDP_REDIRECT {
                generator.learn(&after);
                sent += 1;
            }
            frames += 1;
        }
        let vips = world.vips.iter().map(|(number, _)| Subject::Vip(*number));
        if vips.clone().all(|vip| seen(&memory.counters(vip)) >= PACKETS_PER_VIP_MIN) {
            compare_counts(&kernel, &memory, vips);
            compare_flows(&kernel, &memory);
            println!("{frames} frames, of which {sent} were sent on, in {seed} sequences");
            return;
        }
    }
}

/// What is not told apart by when it comes: tokens that are spent don't come back, and no flow
/// ends by itself while the two look at their clocks one after the other.
fn timeless(mut world: World) -> World {
    for (_, vip) in &mut world.vips {
        vip.timeouts =
            Timeouts { opening: DAY, established: DAY, closing: DAY, closed: DAY, datagram: DAY };
    }
    for (_, _, rule) in &mut world.sources {
        rule.rate = 0;
    }
    world
}

fn in_kernel(program: &Xdp, frame: &[u8]) -> (u32, Vec<u8>) {
    let mut out = vec![0; 4_096];
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.data_out = Some(&mut out);
    let result = program.test_run(options).expect("the kernel runs a loaded program");
    out.truncate(result.data_size_out as usize);
    (result.return_value, out)
}

fn action_of(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Pass(_) => XDP_PASS,
        Verdict::Drop(_) => XDP_DROP,
        Verdict::Send { .. } | Verdict::Answer(_) => XDP_REDIRECT,
    }
}

fn seen(counters: &Option<Counters>) -> u64 {
    let sum = |one: &Counters| one.packets + one.return_packets + one.causes.iter().sum::<u64>();
    counters.as_ref().map_or(0, sum)
}

fn compare_counts(kernel: &Kernel, memory: &MemoryTables, vips: impl Iterator<Item = Subject>) {
    let subjects = vips.chain([Subject::Vip(0)]).chain((0..6).map(Subject::Backend));
    for subject in subjects {
        let in_kernel = kernel.read().counters(subject).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(in_kernel, memory.counters(subject), "{subject:?}");
    }
}

/// The same flows in the same tables, but for when they were seen.
fn compare_flows(kernel: &Kernel, memory: &MemoryTables) {
    for tenure in [Tenure::New, Tenure::Proven] {
        let timeless = |(key, mut flow): (_, penstock_l4::value::Flow)| {
            (flow.seen, flow.paired) = (0, 0);
            format!("{key:?} {flow:?}")
        };
        let mut in_kernel: Vec<_> = kernel.read().flows(tenure).map(timeless).collect();
        let mut in_memory: Vec<_> = memory.flows(tenure).map(timeless).collect();
        in_kernel.sort();
        in_memory.sort();
        assert!(!in_memory.is_empty(), "no flow in {tenure:?}");
        assert_eq!(in_kernel.len(), in_memory.len(), "{tenure:?}");
        assert_eq!(in_kernel, in_memory, "{tenure:?}");
    }
}

const LIMITS: Limits = Limits {
    new_flows_max: 65_536,
    proven_flows_max: 65_536,
    buckets_max: 1_024,
    vips_max: 64,
    backends_max: 64,
};
