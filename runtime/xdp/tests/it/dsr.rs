//! `dsr` with real sockets: encapsulated to backends, which answer the client directly.

use std::io::Read;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use penstock_l4::value::{encap, mode};
use penstock_l4::{Cause, Subject, Tenure};
use penstock_xdp::{Datapath, Decap, Sizes};

use crate::harness::peers::{answer, ask, datagrams, echo, flood, get, payload, put};
use crate::harness::site::{BACKENDS, TUNNELS, VIPS, Way, network, serve};
use crate::harness::{BpfFolder, Net, can_tunnel, can_wire, counted, sizes};

/// Servers on the VIPs' own addresses, behind what takes packets out of their encapsulation. No
/// help with the MSS.
fn backends(net: &Net) {
    for name in BACKENDS {
        net.ip(name, "address add 10.9.0.10/32 dev lo");
        net.ip(name, "address add fd00:9::a/128 dev lo nodad");
        let from = TUNNELS.map(|address| address.parse::<IpAddr>().expect("it is an address"));
        let decap = net.inside(name, move || Decap::open("penstock0", &from));
        let mut decap = decap.unwrap_or_else(|error| panic!("{error}"));
        // Ends with the process, as the servers do.
        std::thread::spawn(move || decap.run(Duration::MAX, &mut |_| {}));
        answer(net, name, 80, &["10.9.0.10:53", "[fd00:9::a]:53"]);
    }
}

fn counts(datapath: &Datapath, subject: Subject) -> penstock_l4::value::Counters {
    let counters = datapath.counters(subject).unwrap_or_else(|error| panic!("{error}"));
    counters.expect("there is one")
}

#[test]
fn large_downloads_and_uploads_pass_in_both_families() {
    if can_wire() {
        large_transfers(Way::Xdp(&BpfFolder::new().options()));
    }
}

#[test]
fn large_downloads_and_uploads_pass_in_both_families_without_bpf() {
    if can_tunnel() {
        large_transfers(Way::Tun(&sizes()));
    }
}

fn large_transfers(way: Way<'_>) {
    let net = network();
    backends(&net);
    let datapath = serve(&net, way, mode::DSR, encap::GRE);
    for (number, vip) in (1..).zip(VIPS) {
        let told = |error| -> bool { panic!("{vip}: {error}; {}", counted(&datapath)) };
        let small = net.inside("client", move || (0..20).map(|_| get(vip, 900)).collect());
        let small: Vec<_> = small;
        for whole in small {
            assert!(whole.unwrap_or_else(told), "{vip}");
        }
        let whole = net.inside("client", move || get(vip, 20_000_000));
        assert!(whole.unwrap_or_else(told), "{vip}");
        let peer = net.inside("client", move || put(vip, 3_000_000));
        let peer = peer.unwrap_or_else(|e| panic!("{vip}: {e}; {}", counted(&datapath)));
        // Nothing is translated.
        let client = if number == 1 { "10.1.0.2" } else { "fd00:1::2" };
        assert_eq!(peer.as_deref(), Some(client), "{vip}");
        let echoes = net.inside("client", move || {
            (0..20).filter(|_| echo(&datagrams(vip), b"a question")).count()
        });
        assert_eq!(echoes, 20, "{vip}: {}", counted(&datapath));
        // The upload began with segments that fill a frame: it went on because it was told so.
        let vip = counts(&datapath, Subject::Vip(number));
        assert!(vip.causes[Cause::TooBig as usize] > 0, "{}", counted(&datapath));
        assert_eq!(vip.return_packets, 0);
    }
    for index in 0..4 {
        assert!(counts(&datapath, Subject::Backend(index)).packets > 20, "{}", counted(&datapath));
    }
}

#[test]
fn ip_in_ip_and_gue_come_out_as_whole_as_gre() {
    if can_wire() {
        other_encapsulations(Way::Xdp(&BpfFolder::new().options()));
    }
}

#[test]
fn ip_in_ip_and_gue_come_out_as_whole_as_gre_without_bpf() {
    if can_tunnel() {
        other_encapsulations(Way::Tun(&sizes()));
    }
}

fn other_encapsulations(way: Way<'_>) {
    for (name, encap) in [("IP in IP", encap::IPIP), ("GUE", encap::GUE)] {
        let net = network();
        backends(&net);
        let datapath = serve(&net, way, mode::DSR, encap);
        for vip in VIPS {
            let told = |error| -> bool { panic!("{name}, {vip}: {error}; {}", counted(&datapath)) };
            let whole = net.inside("client", move || get(vip, 300_000));
            assert!(whole.unwrap_or_else(told), "{name}, {vip}");
            let whole = net.inside("client", move || put(vip, 300_000).map(|peer| peer.is_some()));
            assert!(whole.unwrap_or_else(told), "{name}, {vip}");
            let echoes = net.inside("client", move || {
                (0..20).filter(|_| echo(&datagrams(vip), b"a question")).count()
            });
            assert_eq!(echoes, 20, "{name}, {vip}: {}", counted(&datapath));
        }
    }
}

#[test]
fn a_syn_flood_ends_no_download_and_fills_no_more_than_its_table() {
    if can_wire() {
        let folder = BpfFolder::new();
        let mut options = folder.options();
        options.sizes.new_flows_max = NEW_FLOWS_MAX;
        syn_flood(Way::Xdp(&options));
    }
}

#[test]
fn a_syn_flood_ends_no_download_and_fills_no_more_than_its_table_without_bpf() {
    if can_tunnel() {
        syn_flood(Way::Tun(&Sizes { new_flows_max: NEW_FLOWS_MAX, ..sizes() }));
    }
}

fn syn_flood(way: Way<'_>) {
    let net = network();
    backends(&net);
    let datapath = serve(&net, way, mode::DSR, encap::GRE);
    let (begun, ended) = (Arc::new(Barrier::new(21)), Arc::new(AtomicBool::new(false)));
    let downloads: Vec<_> = (0..20)
        .map(|number| {
            let (begun, ended) = (begun.clone(), ended.clone());
            net.begin("client", move || download(VIPS[number % 2], &begun, &ended))
        })
        .collect();
    begun.wait();
    let packets = || [1, 2].map(|vip| counts(&datapath, Subject::Vip(vip)).packets);
    let (before, mut seed, mut sent) = (packets(), 1, 0);
    let arrived = loop {
        let (next, more) = net.inside("client", move || flood(seed, 5_000));
        (seed, sent) = (next, sent + more);
        let now = packets();
        let arrived = [now[0] - before[0], now[1] - before[1]];
        // Some of them are what the downloads acknowledge: so what was sent counts as well.
        if sent >= 200_000 && arrived.iter().all(|&arrived| arrived >= 100_000) {
            break arrived;
        }
    };
    ended.store(true, Ordering::Relaxed);
    for download in downloads {
        let whole = download.join().expect("it does not panic");
        assert!(whole.unwrap_or_else(|e| panic!("{e}; {}", counted(&datapath))));
    }
    let new = datapath.flows(Tenure::New).count();
    // Three lanes have a third each, rounded up to a power of two of sets.
    let most = if matches!(way, Way::Tun(_)) { 3 * 8_192 } else { NEW_FLOWS_MAX as usize };
    assert!((NEW_FLOWS_MAX as usize / 2..=most).contains(&new), "{new} entries");
    let proven = datapath.flows(Tenure::Proven).count();
    assert!((20..=1_000).contains(&proven), "{proven} entries");
    // And who comes now is served.
    let whole = net.inside("client", || get(VIPS[0], 100_000));
    assert!(whole.unwrap_or_else(|error| panic!("{error}; {}", counted(&datapath))));
    println!(
        "{arrived:?} packets to the VIPs during 20 downloads: {new} new entries, {proven} proven"
    );
}

const NEW_FLOWS_MAX: u32 = 16_384;

/// Downloads slowly, and the second half only when the flood has ended.
fn download(vip: &str, begun: &Barrier, ended: &AtomicBool) -> std::io::Result<bool> {
    let length = 4_000_000;
    let mut stream = ask(vip, format!("get {length}\n").as_bytes());
    let mut bytes = vec![0; length];
    // They all begin, or the others would wait for ever.
    let first = stream.as_mut().map(|stream| stream.read_exact(&mut bytes[..100_000]));
    let first = first.map_err(|error| std::io::Error::other(error.to_string()));
    begun.wait();
    first??;
    let (mut stream, mut at) = (stream?, 100_000);
    while at < length {
        if !ended.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
            if at > length / 2 {
                continue;
            }
        }
        let end = length.min(at + 16_384);
        stream.read_exact(&mut bytes[at..end])?;
        at = end;
    }
    Ok(bytes == payload(length))
}
