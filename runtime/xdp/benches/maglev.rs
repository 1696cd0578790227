//! What a Maglev table costs, how even and how lasting it is (Eisenbud et al., NSDI 2016, §5.3).
//!
//! `cargo bench -p penstock-xdp --bench maglev`. A table is built anew whenever an endpoint
//! comes or goes. *Moved* are flows of endpoints that stay: the slots that change hands beside
//! those of the one that leaves.

#![allow(clippy::disallowed_methods, reason = "a bench lives in real time")]

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use penstock_balance::{EndpointSpec, FleetSeed, maglev_table};
use penstock_env::Address;

fn main() {
    // Cargo runs benches as tests, too: then there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let seed = FleetSeed::new("a bench");
    for count in [10, 100, 1_000] {
        let endpoints: Vec<EndpointSpec> = (0..count).map(endpoint).collect();
        let table = maglev_table(&endpoints, &seed);
        let micros = build_micros(&endpoints, &seed);
        let mean = table.len() as f64 / f64::from(count);
        let mut shares = vec![0_u32; endpoints.len()];
        table.iter().for_each(|place| shares[usize::from(*place)] += 1);
        let share = |slots: Option<u32>| f64::from(slots.unwrap_or(0)) / mean;
        let (least, most) = (shares.iter().copied().min(), shares.iter().copied().max());
        println!(
            "maglev, {count} endpoints: built in {micros:.0} us; shares {:.3} to {:.3} of the \
             mean; {:.2} % of slots moved when one leaves",
            share(least),
            share(most),
            moved_percent(&endpoints, &table, &seed),
        );
    }
}

fn endpoint(number: u32) -> EndpointSpec {
    let ip = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(10, 0, 0, 1)) + number);
    EndpointSpec { address: Address::Ip(SocketAddr::from((ip, 80))), weight: 1 }
}

/// The median of some builds.
fn build_micros(endpoints: &[EndpointSpec], seed: &FleetSeed) -> f64 {
    let mut micros: Vec<f64> = (0..BUILDS)
        .map(|_| {
            let begun = Instant::now();
            black_box(maglev_table(black_box(endpoints), seed));
            begun.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    micros.sort_by(f64::total_cmp);
    micros[BUILDS / 2]
}

/// Slots of others that change hands when one leaves, over some that do.
fn moved_percent(endpoints: &[EndpointSpec], table: &[u16], seed: &FleetSeed) -> f64 {
    let leavers = endpoints.len().min(LEAVERS);
    let mut moved = 0;
    for gone in 0..leavers {
        let mut left = endpoints.to_vec();
        left.remove(gone);
        let after = maglev_table(&left, seed);
        // Who stood behind has moved up by one.
        let place = |after: u16| usize::from(after) + usize::from(usize::from(after) >= gone);
        let pairs = table.iter().zip(&after);
        let changed = pairs.filter(|(before, after)| {
            let before = usize::from(**before);
            before != gone && before != place(**after)
        });
        moved += changed.count();
    }
    100.0 * moved as f64 / (leavers * table.len()) as f64
}

const BUILDS: usize = 31;
const LEAVERS: usize = 20;
