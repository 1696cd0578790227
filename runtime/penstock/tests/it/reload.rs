//! Reloads: applied whole or not at all, and closing no connection.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use rustix::process::Signal;

use crate::harness::{Client, Folder, Origin, Penstock, config_of, until};
use crate::resilience::origin;

#[test]
fn reloads_under_load_fail_no_request_and_close_no_connection() {
    const CLIENTS: usize = 256;
    /// A machine that does other things meanwhile may answer few during one reload.
    const REQUESTS_PER_ROUND: usize = 16;
    let (one, other) = (origin(), origin());
    let configs = [&one, &other].map(|origin| config_of(&[origin.address("web")]));
    let penstock = Penstock::start(&configs[0]);
    let (address, going) = (penstock.address("web"), Arc::new(AtomicBool::new(true)));
    let answered = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (going, answered) = (Arc::clone(&going), Arc::clone(&answered));
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                while going.load(Relaxed) {
                    let reply = client.get("/").expect("the same connection answers");
                    assert_eq!(reply.status, 200, "{}", reply.head);
                    answered.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    for round in 0..20 {
        until("requests are answered", || {
            (answered.load(Relaxed) > round * REQUESTS_PER_ROUND).then_some(())
        });
        penstock.write(&configs[1 - round % 2]);
        if round < 15 {
            let (status, body) = penstock.reload();
            assert_eq!(status, 200, "{body}");
        } else {
            let generation = penstock.metric("penstock_config_generation");
            penstock.signal(Signal::HUP);
            until("the signal is heard", || {
                (penstock.metric("penstock_config_generation") > generation).then_some(())
            });
        }
    }
    going.store(false, Relaxed);
    for thread in threads {
        thread.join().expect("no failure");
    }
    let connections = penstock.metric("penstock_listener_connections_total{listener=\"web\"}");
    assert_eq!(connections, CLIENTS as f64);
}

#[test]
fn a_refused_reload_changes_nothing() {
    let (one, other) = (Origin::named("one"), Origin::named("other"));
    let penstock = Penstock::start(&one.config());
    let mut client = Client::connect(penstock.address("web"));
    let mut refuse = |config: &str, why: &str| {
        penstock.write(config);
        let (status, body) = penstock.reload();
        assert_eq!(status, 422, "{body}");
        assert!(body.contains(why), "{body}");
        assert_eq!(client.get("/").expect("it serves").body, "one");
    };
    refuse(&other.config().replace("to =", "too ="), "did you mean");
    // Right in itself, but its second listener can't be had: the first must not change either.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let second = format!("[listener.x]\naddress = \"{address}\"\nto = \"app\"\n{}", other.config());
    refuse(&second, "listener.x: cannot listen on");
    let log = format!("[observe]\naccess_log = \"json:/nowhere/x.log\"\n{}", other.config());
    refuse(&log, "observe.access_log");
    let wasm = concat!(env!("CARGO_MANIFEST_DIR"), "/../../filters/compiled/header-edit.wasm");
    let filter = format!("[filter.x]\nwasm = \"{wasm}\"\nconfig = {{ nonsense = 1 }}\n");
    refuse(
        &format!("{}{filter}", other.config()),
        "filter.x.config: does not start: refused: conf",
    );
    assert_eq!(penstock.metric("penstock_config_reloads_total{result=\"refused\"}"), 4.0);
    assert_eq!(penstock.metric("penstock_config_generation"), 1.0);
    // Cut off to be written anew, by whom?
    std::fs::write(penstock.folder.join("penstock.toml"), "\n").expect("written");
    let (status, body) = penstock.reload();
    assert!(status != 200 && body.contains("the file is empty"), "{status} {body}");
    assert_eq!(client.get("/").expect("it serves").body, "one");
}

#[test]
fn listeners_come_move_and_go() {
    let origin = Origin::named("one");
    let penstock = Penstock::start(&origin.config());
    let (address, reload) = (penstock.address("web"), || {
        let (status, body) = penstock.reload();
        assert_eq!(status, 200, "{body}");
    });
    let mut client = Client::connect(address);
    assert_eq!(client.get("/").expect("an answer").status, 200);
    // `api` sorts before `web`: connections of `web` must not become its.
    let api = "[listener.api]\naddress = \"127.0.0.1:0\"\nto = \"app\"\n";
    penstock.write(&format!("{api}{}", origin.config()));
    reload();
    assert_eq!(Client::connect(penstock.address("api")).get("/").expect("an answer").status, 200);
    assert_eq!(client.get("/").expect("the same connection").status, 200);
    assert_eq!(penstock.address("web"), address);
    // Gone: nobody listens there any more, and what was idle ends.
    let mut kept = Client::connect(penstock.address("api"));
    penstock.write(&origin.config().replace("listener.web", "listener.api"));
    reload();
    assert!(client.is_closed());
    assert_eq!(kept.get("/").expect("another listener's connection").status, 200);
    assert!(penstock.json("/v1/listeners").as_array().is_some_and(|list| list.len() == 1));
}

#[test]
fn what_only_a_start_reads_is_named() {
    let origin = Origin::named("one");
    let penstock = Penstock::start(&origin.config());
    penstock.write(&format!("[runtime]\nshards = 3\npin = false\n{}", origin.config()));
    let (status, body) = penstock.reload();
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("runtime.shards"), "{body}");
}

#[test]
fn a_named_route_keeps_its_counts_wherever_it_stands() {
    let (origin, folder) = (Origin::named("one"), Folder::new());
    let log = folder.join("access.log");
    let config = |before: &str| {
        let routes = format!(
            "{before}[[listener.web.route]]\nname = \"pay\"\npath = \"/pay\"\nto = \"app\"\n"
        );
        let observe = format!("[observe]\naccess_log = \"json:{}\"\n", log.display());
        // The routes stand behind the listener's other keys.
        let plain = origin.config().replacen("to = \"app\"\n", &routes, 1);
        observe + &plain
    };
    let penstock = Penstock::start_in(folder, &config(""));
    let mut client = Client::connect(penstock.address("web"));
    let name = "penstock_route_responses_total{listener=\"web\",route=\"pay\",class=\"2xx\"}";
    assert_eq!(client.get("/pay").expect("an answer").status, 200);
    until("it is counted", || (penstock.metric(name) == 1.0).then_some(()));
    penstock.write(&config("[[listener.web.route]]\npath = \"/new\"\nto = \"app\"\n"));
    assert_eq!(penstock.reload().0, 200);
    assert_eq!(client.get("/pay").expect("an answer").status, 200);
    until("it is counted", || (penstock.metric(name) == 2.0).then_some(()));
    let routes = &penstock.json("/v1/listeners")[0]["routes"];
    assert_eq!((&routes[0]["name"], &routes[0]["requests"]), (&"0".into(), &0.into()));
    assert_eq!((&routes[1]["name"], &routes[1]["requests"]), (&"pay".into(), &2.into()));
    let lines = until("both are logged", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        (text.lines().count() == 2).then_some(text)
    });
    assert!(lines.lines().all(|line| line.contains("\"route\":\"pay\"")), "{lines}");
}
