//! How many connections a process has: the limit of the whole appliance, over real shards.

use std::process::Command;
use std::sync::Barrier;

use crate::harness::{Client, Folder, Origin, Penstock, until, write_config};

/// Connections, downstream and upstream, that are open.
const OPEN: &str = "penstock_connections";
const REFUSED: &str = "penstock_failures_total{cause=\"connections_max\"}";

#[test]
fn over_its_limit_the_appliance_refuses_and_serves_what_it_has() {
    let origin = Origin::named("one");
    let config = |max: u32| {
        let runtime = format!("[runtime]\nshards = 2\npin = false\nconnections_max = {max}\n");
        runtime + &origin.config()
    };
    let penstock = Penstock::start(&config(6));
    let address = penstock.address("web");
    let connect = |count: u32| -> Vec<Client> {
        let before = penstock.metric(OPEN);
        let clients = (0..count).map(|_| Client::connect(address)).collect();
        let there = || (penstock.metric(OPEN) == before + f64::from(count)).then_some(());
        until("they are accepted", there);
        clients
    };
    let mut clients = connect(6);
    assert!(Client::connect(address).is_closed());
    assert_eq!(penstock.metric(REFUSED), 1.0);
    // Upstream connections come on top for those who were let in.
    for client in &mut clients {
        assert_eq!(client.get("/").expect("an answer").status, 200);
    }
    assert!(penstock.metric(OPEN) > 6.0);
    penstock.write(&config(50));
    assert_eq!(penstock.reload().0, 200);
    let more = connect(6);
    assert_eq!(penstock.metric(REFUSED), 1.0);
    drop((clients, more));
    until("all are gone but unused ones", || (penstock.metric(OPEN) <= 6.0).then_some(()));
    assert_eq!(Client::connect(address).get("/").expect("an answer").status, 200);
}

#[test]
fn a_source_is_counted_over_all_shards() {
    let origin = Origin::named("one");
    let listener = "to = \"app\"\nlimits.connections_per_source = 4\n";
    let penstock = Penstock::start(&origin.config().replace("to = \"app\"\n", listener));
    let address = penstock.address("web");
    let crowd: Vec<Client> = (0..12).map(|_| Client::connect(address)).collect();
    let refused = "penstock_failures_total{cause=\"source_connections_max\"}";
    until("eight are refused", || (penstock.metric(refused) == 8.0).then_some(()));
    assert_eq!(penstock.metric(OPEN), 4.0);
    drop(crowd);
    until("all are gone", || (penstock.metric(OPEN) == 0.0).then_some(()));
    assert_eq!(Client::connect(address).get("/").expect("an answer").status, 200);
}

#[test]
fn out_of_descriptors_what_is_unused_makes_room_for_newcomers() {
    // It answers when all have asked.
    let all = Barrier::new(100);
    let origin = Origin::start(move |head| {
        if head.contains("/slow") {
            all.wait();
        }
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()
    });
    let folder = Folder::new();
    let runtime = "[runtime]\nshards = 1\npin = false\nconnections_max = 1000\n";
    write_config(&folder, &format!("{runtime}{}", origin.config()));
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_penstock");
    command.args(["-c", "ulimit -n 300; exec \"$0\" \"$@\"", program]);
    let penstock = Penstock::start_by(command, folder);
    let address = penstock.address("web");
    // As many upstream connections as requests at a time; they stay when nobody uses them.
    let mut busy: Vec<Client> = (0..100).map(|_| Client::connect(address)).collect();
    for client in &mut busy {
        client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    }
    for client in &mut busy {
        assert_eq!(client.reply().expect("an answer").status, 200);
    }
    let mut more: Vec<Client> = (0..110).map(|_| Client::connect(address)).collect();
    for client in &mut more {
        assert_eq!(client.get("/").expect("an answer").status, 200);
    }
    assert!(penstock.metric("penstock_shard_accept_errors_total{shard=\"0\"}") > 0.0);
    assert!(penstock.errors().contains("no descriptor"), "{}", penstock.errors());
}
