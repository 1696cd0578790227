//! The admin socket of a running process, and the verbs that ask it.

use crate::harness::{Client, Origin, Penstock, run, until};

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
    let output = run(&["status", "--socket", "/nowhere.sock"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
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
