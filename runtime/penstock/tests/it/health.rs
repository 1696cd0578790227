//! Checks of endpoints: by a connection, over HTTP, over TLS; what they find, and what requests
//! see of it.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crate::harness::{Certificates, Client, Penstock, until};

/// An origin that answers its name, and for its health this status.
fn origin(name: &str, listener: &str, status: u16) -> String {
    format!(
        "[listener.web]\naddress = \"127.0.0.1:0\"\n{listener}\
         [[listener.web.route]]\npath = \"/healthz\"\nrespond = {{ status = {status} }}\n\
         [[listener.web.route]]\nrespond = {{ body = \"{name}\" }}\n"
    )
}

/// The two endpoints, with a check of this kind made ten times a second.
fn config(endpoints: [SocketAddr; 2], health: &str) -> String {
    let [one, two] = endpoints;
    format!(
        "[listener.web]\naddress = \"127.0.0.1:0\"\n[[listener.web.route]]\nto = \"app\"\n\
         [cluster.app]\nendpoints = [\"{one}\", \"{two}\"]\n{health}"
    )
}

fn every(check: &str) -> String {
    format!("health = {{ {check}interval = \"100ms\", timeout = \"5s\" }}\n")
}

/// The health of an endpoint, as the admin API tells it.
fn health(penstock: &Penstock, address: SocketAddr) -> String {
    let clusters = penstock.json("/v1/clusters");
    let endpoints = clusters[0]["endpoints"].as_array().expect("a list");
    let found = endpoints.iter().find(|one| one["address"] == address.to_string());
    found.expect("it is there")["health"].as_str().expect("a word").to_owned()
}

#[track_caller]
fn wait_for(penstock: &Penstock, address: SocketAddr, wanted: &str) {
    until("its health", || (health(penstock, address) == wanted).then_some(()));
}

/// An address that nobody listens at.
fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

#[test]
fn what_a_path_says_decides_who_is_asked() {
    let (sick, well) = (origin("sick", "", 500), origin("well", "", 204));
    let (sick, well) = (Penstock::start(&sick), Penstock::start(&well));
    let (one, two) = (sick.address("web"), well.address("web"));
    let text = config([one, two], &every("http = \"/healthz\", "));
    let penstock = Penstock::start(&text);
    wait_for(&penstock, one, "down");
    let mut client = Client::connect(penstock.address("web"));
    for _ in 0..50 {
        assert_eq!(client.get("/").expect("an answer").body, "well");
    }
    assert_eq!(health(&penstock, two), "up");
    until("the log says why", || penstock.errors().contains("status 500").then_some(()));
    // A reload forgets nothing: it is not asked before checks say that it may be.
    penstock.write(&(text.clone() + "timeouts.connect = \"2s\"\n"));
    assert_eq!(penstock.reload().0, 200);
    assert_eq!(health(&penstock, one), "down");
    sick.write(&origin("was sick", "", 200));
    assert_eq!(sick.reload().0, 200);
    wait_for(&penstock, one, "up");
    until("it is asked", || {
        let reply = client.get("/").expect("an answer");
        (reply.body == "was sick").then_some(())
    });
}

#[test]
fn a_port_that_takes_no_connections_is_found_before_a_request_is_lost() {
    let (well, gone) = (Penstock::start(&origin("well", "", 200)), nobody());
    let penstock = Penstock::start(&config([gone, well.address("web")], &every("")));
    wait_for(&penstock, gone, "down");
    let mut client = Client::connect(penstock.address("web"));
    for _ in 0..20 {
        assert_eq!(client.get("/").expect("an answer").body, "well");
    }
    let failures = "penstock_cluster_connect_failures_total{cluster=\"app\"}";
    assert_eq!(penstock.metric(failures), 0.0);
    // Where nobody checks, nobody says that it is down.
    penstock.write(&config([gone, well.address("web")], ""));
    assert_eq!(penstock.reload().0, 200);
    wait_for(&penstock, gone, "up");
}

#[test]
fn where_all_are_down_all_are_asked() {
    let (one, two) = (nobody(), nobody());
    let penstock = Penstock::start(&config([one, two], &every("")));
    wait_for(&penstock, one, "down");
    wait_for(&penstock, two, "down");
    let clusters = penstock.json("/v1/clusters");
    assert_eq!(clusters[0]["panics"], true);
    // It is tried: the answer says how that went.
    let reply = Client::connect(penstock.address("web")).get("/").expect("an answer");
    assert_eq!(reply.status, 502);
    until("the log tells", || penstock.errors().contains("too few endpoints").then_some(()));
}

#[test]
fn checks_of_endpoints_with_tls_are_sealed_and_verified() {
    let files = Certificates::make(&["localhost"]);
    for protocol in ["", "protocol = \"h2\"\n"] {
        let sick = Penstock::start(&origin("sick", &files.listener(1, ""), 503));
        let well = Penstock::start(&origin("well", &files.listener(1, ""), 200));
        let (one, two) = (sick.address("web"), well.address("web"));
        let tls = |name: &str| {
            let ca = files.path("ca.pem");
            format!("{protocol}tls = {{ ca = \"{ca}\", name = \"{name}\" }}\n")
        };
        let check = every("http = \"/healthz\", ");
        let penstock = Penstock::start(&config([one, two], &(check.clone() + &tls("localhost"))));
        wait_for(&penstock, one, "down");
        assert_eq!(health(&penstock, two), "up", "{}", penstock.errors());
        until("the log says why", || penstock.errors().contains("status 503").then_some(()));
        // Another name than the certificate's: nobody is who it should be.
        penstock.write(&config([one, two], &(check + &tls("other.example"))));
        assert_eq!(penstock.reload().0, 200);
        wait_for(&penstock, two, "down");
    }
}

#[test]
fn reloads_in_a_row_keep_nobody_up() {
    let (well, gone) = (Penstock::start(&origin("well", "", 200)), nobody());
    let health_of = "health = { interval = \"1s\", fall = 2 }\n";
    let text = config([gone, well.address("web")], health_of);
    let penstock = Penstock::start(&text);
    let mut reloads = 0;
    // Several for each check that there is time for.
    until("it is down", || {
        reloads += 1;
        penstock.write(&format!("{text}timeouts.connect = \"{reloads}s\"\n"));
        assert_eq!(penstock.reload().0, 200);
        std::thread::sleep(Duration::from_millis(250));
        (health(&penstock, gone) == "down").then_some(())
    });
}

#[test]
fn a_page_says_that_an_endpoint_is_to_be_left_while_it_serves_well() {
    let (one, two) = (origin("one", "", 200), origin("two", "", 200));
    let (one, two) = (Penstock::start(&one), Penstock::start(&two));
    let addresses = [one.address("web"), two.address("web")];
    let penstock = Penstock::start(&config(addresses, &every("http = \"/healthz\", ")));
    let mut client = Client::connect(penstock.address("web"));
    one.write(&origin("one", "", 503));
    assert_eq!(one.reload().0, 200);
    until("it is left", || {
        assert_eq!(client.get("/").expect("an answer").status, 200);
        (health(&penstock, addresses[0]) == "down").then_some(())
    });
    assert_eq!(client.get("/").expect("an answer").body, "two");
}
