//! `nat` with real sockets: client, router, appliance, two backends, over veth.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use penstock_l4::Subject;
use penstock_l4::value::mode;
use penstock_xdp::{Datapath, Start};

use crate::harness::peers::{PATIENCE, answer, datagrams, echo, put};
use crate::harness::site::{BACKENDS, POOLS, VIPS, Way, network, serve, start};
use crate::harness::{BpfFolder, can_tunnel, can_wire, counted, sizes};

#[test]
fn tcp_and_udp_pass_both_ways_in_both_families() {
    if can_wire() {
        both_ways(Way::Xdp(&BpfFolder::new().options()));
    }
}

#[test]
fn tcp_and_udp_pass_both_ways_in_both_families_without_bpf() {
    if can_tunnel() {
        both_ways(Way::Tun(&sizes()));
    }
}

fn both_ways(way: Way<'_>) {
    let net = network();
    for name in BACKENDS {
        answer(&net, name, 8_080, &["[::]:8080"]);
    }
    let datapath = serve(&net, way, mode::NAT, 0);
    for (vip, pool) in VIPS.into_iter().zip(POOLS) {
        let answers = net.inside("client", move || {
            (0..20).map(|round| put(vip, 150_000 + round)).collect::<Vec<_>>()
        });
        for answer in answers {
            let peer = answer.unwrap_or_else(|e| panic!("{vip}: {e}; {}", counted(&datapath)));
            // The backend sees the pool's address, or what it saw was not translated.
            assert_eq!(peer.as_deref(), Some(pool), "{vip}");
        }
        let echoes = net.inside("client", move || {
            (0..20).filter(|_| echo(&datagrams(vip), b"a question")).count()
        });
        assert_eq!(echoes, 20, "{vip}: {}", counted(&datapath));
    }
    for index in 0..4 {
        let counters = datapath.counters(Subject::Backend(index));
        let counters = counters.unwrap_or_else(|error| panic!("{error}")).expect("it is one");
        let (to, from) = (counters.packets, counters.return_packets);
        assert!(to > 20 && from > 20, "backend {index}: {to} packets there, {from} back");
    }
}

#[test]
fn a_restart_under_load_loses_no_packet_of_a_flow() {
    if !can_wire() {
        return;
    }
    let (net, folder) = (network(), BpfFolder::new());
    for name in BACKENDS {
        answer(&net, name, 8_080, &["[::]:8080"]);
    }
    let options = folder.options();
    let mut datapath = serve(&net, Way::Xdp(&options), mode::NAT, 0);
    let (answered, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    // Each has one datagram under way and sends none again: one that is lost ends the test. And
    // so few are under way that no queue of a veth is ever full.
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let (answered, ended) = (answered.clone(), ended.clone());
            net.begin("client", move || {
                let socket = datagrams(VIPS[number % 2]);
                for question in 0_u64.. {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    if !echo(&socket, &question.to_ne_bytes()) {
                        return Err(format!("client {number}: datagram {question} is lost"));
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        })
        .collect();
    let mut restarts = 0;
    for _ in 0..4 {
        let before = answered.load(Ordering::Relaxed);
        let began = Instant::now();
        while answered.load(Ordering::Relaxed) < before + 500 && began.elapsed() < 2 * PATIENCE {
            std::thread::yield_now();
        }
        // The new process comes while the old one's program is at work, as it would after a kill.
        drop(datapath);
        let adopted = start(&net, &options);
        assert_eq!(adopted.found(), Start::Adopted);
        datapath = Datapath::Kernel(Box::new(adopted));
        restarts += 1;
    }
    let at_last = answered.load(Ordering::Relaxed);
    let began = Instant::now();
    while answered.load(Ordering::Relaxed) < at_last + 500 && began.elapsed() < 2 * PATIENCE {
        std::thread::yield_now();
    }
    ended.store(true, Ordering::Relaxed);
    for client in clients {
        let result = client.join().expect("it does not panic");
        result.unwrap_or_else(|why| panic!("{why}; {}", counted(&datapath)));
    }
    let answered = answered.load(Ordering::Relaxed);
    assert!(answered >= 2_500, "{answered} answers in {} waits", restarts + 1);
    println!("{restarts} restarts, {answered} datagrams, none lost");
}
