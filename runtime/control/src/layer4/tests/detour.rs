//! The way for checks: open while it is wanted, and where it leads.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use penstock_config::Config;
use penstock_l4::CheckWay;

use super::super::running::Layer4;
use super::super::{DatapathError, Detour, Guide, Through};
use super::world::{machine, parse, planned, put, seed};

/// Counts how many there are.
pub(super) struct PretendedDetour(pub(super) Arc<AtomicUsize>);

impl Drop for PretendedDetour {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Detour for PretendedDetour {
    fn follow(&mut self, _interfaces: &[String]) {}

    fn guide(&self) -> Arc<dyn Guide> {
        Arc::new(Nowhere)
    }
}

struct Nowhere;

impl Guide for Nowhere {
    fn lead(
        &self,
        _socket: BorrowedFd<'_>,
        _from: SocketAddr,
        _way: &CheckWay,
    ) -> Result<Box<dyn Send>, DatapathError> {
        Err(DatapathError("it leads nowhere".to_owned()))
    }
}

#[test]
fn the_way_for_checks_is_open_while_what_is_in_force_wants_it() {
    let text = |at: &str| {
        format!(
            "[service.d]\nvip = [\"10.9.0.3\", \"fd09::3\"]\nports = [\"udp/53\", \"tcp/443\"]\n\
             mode = \"dsr\"\nencap = \"ipip\"\ninterface = \"eth0\"\nto = \"c\"\n[cluster.c]\n\
             endpoints = [\"10.1.0.1:8443\"]\nhealth = {{ http = \"/\"{at} }}\n"
        )
    };
    let (machine, endpoint) = (machine(), "10.1.0.1:8443".parse().expect("an address"));
    let (writes, detours) = (Arc::clone(&machine.writes), Arc::clone(&machine.detours));
    let mut layer4 = Layer4::new(Box::new(machine));
    let (through, direct) = (parse(&text("")), parse(&text(", at = \"endpoint\"")));
    let health = |config: &Config| config.clusters[0].health.clone().expect("it is checked");
    let ways = |layer4: &Layer4, config: &Config| -> Vec<String> {
        let ways = layer4.ways(0, endpoint, &health(config));
        ways.iter().map(Through::name).collect()
    };
    put(&mut layer4, &direct);
    assert_eq!((detours.load(Relaxed), ways(&layer4, &direct).len()), (0, 0));
    // One that fails at its first write leaves nothing open.
    writes.store(1, Relaxed);
    let other = parse(&text("").replace("10.1.0.1", "10.1.0.2"));
    assert!(layer4.apply(&other, &[], &seed()).is_err());
    assert_eq!(detours.load(Relaxed), 0);
    put(&mut layer4, &through);
    put(&mut layer4, &through);
    assert_eq!(detours.load(Relaxed), 1);
    let expected = ["10.9.0.3:443 through ipip", "[fd09::3]:443 through ipip"];
    assert_eq!(ways(&layer4, &through), expected);
    put(&mut layer4, &parse(""));
    assert_eq!(detours.load(Relaxed), 0);
    let error = planned(&parse(&text("").replace("eth0", "v4")));
    let expected = "service.d: v4 has no IPv6 address that health checks of its VIP could be from: \
                    give it one, or set `at = \"endpoint\"` in the cluster's `health`";
    assert_eq!(error.expect_err("checks of an IPv6 VIP").to_string(), expected);
}
