//! Sources that are denied: dropped before anything of the process sees them.

use std::io::Write;
use std::time::Instant;

use super::ground::kernel_is_there;
use super::ground::peers::flood;
use super::site::{BACKENDS, Site, VIPS, can_be};

/// All that a flood comes from.
const FLOODED_FROM: &str = "[\"16.0.0.0/4\", \"32.0.0.0/3\", \"64.0.0.0/3\", \"96.0.0.0/6\", \
                            \"2a00::/16\"]";

#[test]
fn denied_sources_are_counted_and_cost_no_shard_any_time() {
    if !can_be() || !kernel_is_there() {
        return;
    }
    let mut site = Site::new(1);
    site.decapsulate();
    let config = site.config("lb0", "dsr", &BACKENDS, "");
    let config = config.replace("pin = false", "pin = false\ndatapath = \"xdp\"").replace(
        "flows = 16384\n",
        &format!("flows = 16384\nsources = [{{ from = {FLOODED_FROM}, action = \"deny\" }}]\n"),
    );
    let penstock = site.start("lb0", &config);
    let dropped = || -> u64 {
        let (_, metrics) = penstock.ask("GET", "/metrics");
        let lines = metrics.lines().filter(|line| line.contains("cause=\"source_denied\""));
        let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        counts.sum()
    };
    let (begun, before) = (Instant::now(), penstock.cpu_ticks());
    let (mut seed, mut count, mut looks) = (1, 0, 0);
    while count < DROPPED_MIN {
        (seed, _) = site.net.inside("client", move || flood(seed, 50_000));
        (count, looks) = (dropped(), looks + 1);
    }
    // 100 ticks are a second. A shard that had each packet for 10 us would have taken 200 for
    // 200,000. What the process does anyway is 2 % of a processor, and to be looked at 50 ms.
    let (spent, idle) = (penstock.cpu_ticks() - before, 2 * begun.elapsed().as_secs() + 5 * looks);
    let text = format!("{count} packets dropped, {spent} ticks spent, at most {idle} of them idle");
    let _ = writeln!(std::io::stderr(), "{text}");
    assert!(spent < 40 + idle, "{text}");
    // The others are served, and nobody else has a flow.
    for (vip, client) in VIPS.into_iter().zip(["10.1.0.2", "fd00:1::2"]) {
        assert!(site.curl(&[&format!("http://{vip}/who")]).contains(client));
    }
    assert_eq!(penstock.json("/v1/flows")["count"], 2);
}

const DROPPED_MIN: u64 = 200_000;
