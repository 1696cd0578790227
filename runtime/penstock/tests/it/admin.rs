//! The admin socket of a running process, and the verbs that ask it.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Client, Folder, Origin, Penstock, run, until};

#[test]
fn status_and_metrics_count_what_was_served() {
    let origin = Origin::named("one");
    let penstock = Penstock::start(&origin.config());
    let mut client = Client::connect(penstock.address("web"));
    for _ in 0..10 {
        assert_eq!(client.get("/x").expect("an answer").status, 200);
    }
    // The last one is counted when its answer is on its way, and read as soon.
    let status = until("ten are counted", || {
        Some(penstock.json("/v1/status")).filter(|status| status["requests"] == 10)
    });
    assert_eq!(status["connections"], 1);
    assert_eq!(status["clusters"][0]["endpoints"][0]["requests"], 10);
    assert_eq!(status["listeners"][0]["routes"][0]["requests"], 10);
    assert!(status["shards"].as_array().is_some_and(|shards| shards.len() == 2));
    let name = "penstock_route_responses_total{listener=\"web\",route=\"0\",class=\"2xx\"}";
    assert_eq!(penstock.metric(name), 10.0);
    assert_eq!(penstock.metric("penstock_ready"), 1.0);
    assert!(penstock.metric("process_resident_memory_bytes") > 1e6);
}

#[test]
fn the_verbs_ask_over_the_socket() {
    let origin = Origin::named("one");
    let penstock = Penstock::start(&origin.config());
    let socket = penstock.socket().display().to_string();
    let output = run(&["status", "--socket", &socket]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && shown.contains("cluster app"), "{shown}");
    let output = run(&["status", "--json", "--socket", &socket]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"state\": \"serving\""));
    let output = run(&["reload", "--socket", &socket]);
    assert!(output.status.success());
    assert!(penstock.errors().contains("admin call"), "calls that change leave a line");
    penstock.write("[listener.web]\n");
    let output = run(&["reload", "--socket", &socket]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("listener.web"));
    // The config says where to ask, whatever is wrong elsewhere in it.
    let config = penstock.folder.join("penstock.toml").display().to_string();
    let output = run(&["status", "--ready", "--config", &config]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"ready\n"[..]));
    let output = run(&["status", "--socket", "/nowhere.sock"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
}

#[test]
fn the_verbs_ask_over_tcp_with_the_token_of_the_config() {
    let (origin, folder) = (Origin::named("one"), Folder::new());
    let token = folder.join("token");
    std::fs::write(&token, "secret\n").expect("written");
    // Any free port: the one that another socket had a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr());
    let address = free.expect("a port");
    let penstock = Penstock::start_in(folder, &origin.config());
    let config = penstock.folder.join("tcp.toml");
    let admin = format!("listen = \"{address}\"\ntoken_file = \"{}\"", token.display());
    std::fs::write(&config, format!("[admin]\n{admin}\n{}", origin.config())).expect("written");
    let config = config.display().to_string();
    let output = run(&["status", "--config", &config]);
    assert_eq!(output.status.code(), Some(1), "nobody listens there yet");
    let mut other = Command::new(env!("CARGO_BIN_EXE_penstock"));
    let mut other = other.args(["run", &config]).stderr(Stdio::null()).spawn().expect("it starts");
    until("it is ready", || {
        run(&["status", "--ready", "--config", &config]).status.success().then_some(())
    });
    let output = run(&["reload", "--config", &config]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(&token, "another\n").expect("written");
    let output = run(&["status", "--config", &config]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Bearer"));
    other.kill().expect("it runs");
    other.wait().expect("a child");
}

#[test]
fn a_probe_hears_of_a_drain() {
    let origin = Origin::slow(Duration::from_secs(15));
    let penstock = Penstock::start(&origin.config());
    let mut busy = Client::connect(penstock.address("web"));
    busy.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    until("it is under way", || origin.head());
    penstock.signal(Signal::TERM);
    until("it drains", || penstock.errors().contains("draining").then_some(()));
    let socket = penstock.socket().display().to_string();
    let output = run(&["status", "--ready", "--socket", &socket]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(run(&["status", "--socket", &socket]).status.success());
}

#[test]
fn a_second_process_is_refused_in_one_line() {
    let origin = Origin::named("one");
    let penstock = Penstock::start(&origin.config());
    let config = penstock.folder.join("penstock.toml").display().to_string();
    let output = run(&["run", &config]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("is Penstock running already?"), "{errors}");
    // Another admin socket, the same port: SO_REUSEPORT would share it without a word.
    let text = std::fs::read_to_string(&config).expect("read");
    let address = penstock.address("web").to_string();
    let text = text.replace("127.0.0.1:0", &address).replace("admin.sock", "other.sock");
    let other = penstock.folder.join("other.toml");
    std::fs::write(&other, text).expect("written");
    let output = run(&["run", &other.display().to_string()]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(&format!("listener.web: cannot listen on {address}")), "{errors}");
}
