//! Origins that die, and what their clients see of it.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{
    Client, Folder, Origin, PATIENCE, Penstock, config_of, installed, until, write_config,
};

const CAUSE: &str = "X-Penstock-Cause: upstream_";

/// An origin in a process of its own, so that it can be killed: a Penstock that answers itself.
pub(crate) fn origin() -> Penstock {
    Penstock::start(
        "[listener.web]\naddress = \"127.0.0.1:0\"\n\
         [[listener.web.route]]\nrespond = { status = 200, body = \"here\" }\n",
    )
}

#[test]
fn an_origin_killed_under_load_costs_no_get_an_answer_and_no_post_its_cause() {
    // Who asks for /held waits behind the origin for an answer that never comes.
    let (tell, is_held) = channel();
    let sleeper = Origin::start(move |_| {
        let _ = tell.send(());
        std::thread::sleep(3 * PATIENCE);
        String::new()
    });
    let dying = Penstock::start(&format!(
        "[listener.web]\naddress = \"127.0.0.1:0\"\n\
         [[listener.web.route]]\npath = \"/held\"\nto = \"held\"\n\
         [[listener.web.route]]\nrespond = {{ status = 200, body = \"here\" }}\n\
         [cluster.held]\nendpoints = [\"{}\"]\n",
        sleeper.address
    ));
    let (living, address) = (origin(), dying.address("web"));
    let held = "[[listener.web.route]]\npath = \"/held\"\nto = \"held\"\n\
                [[listener.web.route]]\nto = \"app\"";
    let config = config_of(&[address, living.address("web")]).replace("to = \"app\"", held);
    let penstock = Penstock::start(&format!(
        "[observe]\ncause_header = true\n{config}[cluster.held]\nendpoints = [\"{address}\"]\n"
    ));
    let (address, going) = (penstock.address("web"), Arc::new(AtomicBool::new(true)));
    // Whether it was answered by us, who said why.
    let ask = move |client: &mut Client, request: &str| {
        client.send(request).expect("it is taken");
        let reply = client.reply().expect("an answer");
        let is_ours = reply.status == 502 && reply.head.contains(CAUSE);
        assert!(is_ours || (reply.status, &*reply.body) == (200, "here"), "{request}\n{reply:?}");
        is_ours
    };
    let threads: Vec<_> = (0..16)
        .map(|number| {
            let (going, is_get) = (Arc::clone(&going), number % 2 == 0);
            std::thread::spawn(move || {
                let (mut client, mut count) = (Client::connect(address), 0);
                while going.load(Relaxed) {
                    let is_ours = ask(&mut client, if is_get { GET } else { POST });
                    assert!(!(is_get && is_ours), "a GET is asked again elsewhere");
                    count += 1;
                }
                count
            })
        })
        .collect();
    let held = std::thread::spawn(move || {
        ask(&mut Client::connect(address), &POST.replace("/ ", "/held "))
    });
    is_held.recv_timeout(PATIENCE).expect("a POST is under way");
    std::thread::sleep(Duration::from_millis(300));
    dying.signal(Signal::KILL);
    assert!(held.join().expect("no failure"), "it may have been done, so nobody else is asked");
    std::thread::sleep(Duration::from_millis(700));
    going.store(false, Relaxed);
    let count: usize = threads.into_iter().map(|thread| thread.join().expect("no failure")).sum();
    assert!(count > 100, "{count} requests prove little");
    assert!(penstock.metric("penstock_cluster_retries_total{cluster=\"app\"}") > 0.0);
}

const GET: &str = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4\r\n\r\nonce";

#[test]
fn an_origin_that_answers_503_costs_no_client_an_answer() {
    let sick = Penstock::start(
        "[listener.web]\naddress = \"127.0.0.1:0\"\n\
         [[listener.web.route]]\nrespond = { status = 503, body = \"sick\" }\n",
    );
    let well = origin();
    let config = config_of(&[sick.address("web"), well.address("web")]);
    let penstock = Penstock::start(&config);
    let mut client = Client::connect(penstock.address("web"));
    for _ in 0..200 {
        let reply = client.get("/").expect("an answer");
        assert_eq!((reply.status, reply.body.as_str()), (200, "here"));
    }
    let metric =
        "penstock_cluster_tries_failed_total{cluster=\"app\",cause=\"upstream_unavailable\"}";
    assert!(penstock.metric(metric) > 0.0, "some of them went there first");
    let (sick, well) = (sick.address("web").to_string(), well.address("web").to_string());
    let clusters = penstock.json("/v1/clusters");
    let endpoints = clusters[0]["endpoints"].as_array().expect("a list");
    let health = |address: &str| {
        let found = endpoints.iter().find(|one| one["address"] == address).expect("it is there");
        (found["health"].as_str().expect("a word").to_owned(), found["ejections"].clone())
    };
    assert_eq!(health(&sick).0, "ejected");
    assert_eq!(health(&well), ("up".to_owned(), 0.into()));
    let up = |address: &str| {
        let labels = format!("cluster=\"app\",endpoint=\"{address}\"");
        penstock.metric(&format!("penstock_endpoint_up{{{labels}}}"))
    };
    assert_eq!((up(&sick), up(&well)), (0.0, 1.0));
    until("the log tells of it", || {
        let log = penstock.errors();
        (log.contains("health changed") && log.contains("ejected")).then_some(())
    });
}

#[test]
fn without_descriptors_it_waits_for_some_and_does_not_spin() {
    // prlimit(1) comes with util-linux.
    if !installed("prlimit") {
        return;
    }
    let (origin, folder) = (Origin::named("one"), Folder::new());
    // Without this it would refuse connections before it ran out of descriptors.
    let runtime = "[runtime]\nshards = 2\npin = false\nconnections_max = 10_000\n";
    write_config(&folder, &(runtime.to_owned() + &origin.config()));
    let mut command = Command::new("prlimit");
    command.arg("--nofile=128:128").arg(env!("CARGO_BIN_EXE_penstock"));
    let penstock = Penstock::start_by(command, folder);
    let address = penstock.address("web");
    let crowd: Vec<Client> = (0..200).map(|_| Client::connect(address)).collect();
    std::thread::sleep(Duration::from_millis(200));
    let before = penstock.cpu_ticks();
    std::thread::sleep(Duration::from_secs(1));
    // 100 ticks a second, and two shards that could burn one each.
    let spent = penstock.cpu_ticks() - before;
    assert!(spent < 20, "{spent} ticks in a second of waiting");
    drop(crowd);
    // Connections that were waiting are accepted first, and closed.
    until("it serves again", || {
        let reply = Client::connect(address).get("/");
        reply.is_ok_and(|reply| reply.status == 200).then_some(())
    });
}

#[test]
fn nobody_there_is_answered_with_a_cause() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = dead.local_addr().expect("an address");
    drop(dead);
    let config = format!("[observe]\ncause_header = true\n{}", config_of(&[address]));
    let penstock = Penstock::start(&config);
    let reply = Client::connect(penstock.address("web")).get("/").expect("an answer");
    assert_eq!(reply.status, 502, "{}", reply.head);
    assert!(reply.head.contains("X-Penstock-Cause: connect_refused\r\n"), "{}", reply.head);
    let metric = "penstock_failures_total{cause=\"connect_refused\"}";
    assert!(penstock.metric(metric) >= 1.0);
}
