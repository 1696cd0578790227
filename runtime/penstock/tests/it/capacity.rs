//! How many connections a process has: the limit of the whole appliance, over real shards.

use crate::harness::{Client, Origin, Penstock, until};

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
