//! A backend that checks find down: its flows stay or go elsewhere, as the service says.

use std::io::{Error, ErrorKind};
use std::net::{TcpStream, UdpSocket};

use super::ground::peers::{answer, datagrams, echo};
use super::site::{BACKENDS, Site, VIPS, can_be};
use super::talk::{ask, connect};
use crate::harness::{Penstock, until};

#[test]
fn datagrams_go_elsewhere_and_connections_wait_for_it() {
    for datapath in ["xdp", "tun"] {
        let Some(mut ground) = Ground::new(datapath, "") else { return };
        ground.cut("b0");
        assert_eq!(ground.echoes(), FLOWS, "{datapath}");
        let left = ground.flows_of("udp", "10.5.0.2:8080");
        assert_eq!(left, 0, "{datapath}: each has sent since, and none stays");
        // It comes back, and its connections are there: who left in time of need has lost nothing.
        ground.site.net.ip("router", "link set to-b0 up");
        let (answers, own) = (ground.ask_all(), ground.first.clone());
        for (answer, before) in answers.into_iter().zip(own) {
            assert_eq!(answer.unwrap_or_else(|error| panic!("{datapath}: {error}")), before);
        }
        until("it is back", || (ground.state("10.5.0.2:8080") == "up").then_some(()));
    }
}

#[test]
fn connections_are_reset_where_the_service_says_so() {
    for datapath in ["xdp", "tun"] {
        let Some(mut ground) = Ground::new(datapath, "move_when_down = \"all\"") else { return };
        ground.cut("b0");
        for (answer, before) in ground.ask_all().into_iter().zip(ground.first.clone()) {
            match answer {
                Ok(answer) => assert!(answer == before && !before.starts_with("b0"), "{answer}"),
                Err(error) => {
                    assert!(before.starts_with("b0"), "{datapath}: {before}: {error}");
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{datapath}: {error}");
                }
            }
        }
    }
}

/// Flows of each transport, so many that each of three backends has some.
const FLOWS: usize = 32;

/// An appliance in `nat` that checks its backends, with flows to all of them.
struct Ground {
    site: Site,
    penstock: Penstock,
    sockets: Vec<UdpSocket>,
    connections: Vec<TcpStream>,
    /// Who answered first, by connection.
    first: Vec<String>,
}

impl Ground {
    fn new(datapath: &str, line: &str) -> Option<Ground> {
        if !can_be() {
            return None;
        }
        let site = Site::new(1);
        for name in BACKENDS {
            answer(&site.net, name, 8_081, &["[::]:8080"]);
        }
        // What datagrams by TUN are from has to be no interface's address.
        let own = "nat = [\"10.9.0.1\", \"fd00:9::1\"]\nflows = 16384";
        let config = site
            .config("lb0", "nat", &BACKENDS, line)
            .replace("flows = 16384", own)
            .replace("pin = false", &format!("pin = false\ndatapath = \"{datapath}\""));
        // Who is cut off is told so at once; who is slow, on a busy machine, is not down.
        let health = "health = { interval = \"200ms\", timeout = \"10s\", fall = 2, rise = 2 }\n";
        let penstock = site.start("lb0", &(config + health));
        let (sockets, mut connections) = site.net.inside("client", || {
            let sockets: Vec<UdpSocket> = (0..FLOWS).map(|_| datagrams(VIPS[0])).collect();
            (sockets, (0..FLOWS).map(|_| connect(VIPS[0])).collect::<Vec<_>>())
        });
        let first: Result<Vec<String>, Error> = connections.iter_mut().map(ask).collect();
        let first = first.unwrap_or_else(|error| panic!("{datapath}: {error}"));
        assert!(first.iter().any(|name| name.starts_with("b0")), "{first:?}");
        let ground = Ground { site, penstock, sockets, connections, first };
        assert_eq!(ground.echoes(), FLOWS, "{datapath}");
        for transport in ["tcp", "udp"] {
            assert!(ground.flows_of(transport, "10.5.0.2:8080") > 0, "{datapath}: {transport}");
        }
        Some(ground)
    }

    /// Cuts a backend off, as if it had lost its power, and waits until checks find that.
    fn cut(&self, name: &str) {
        self.site.net.ip("router", &format!("link set to-{name} down"));
        until("checks find it", || (self.state("10.5.0.2:8080") == "down").then_some(()));
    }

    fn state(&self, backend: &str) -> String {
        let service = &self.penstock.json("/v1/services")[0];
        let backends = service["backends"].as_array().expect("a list");
        let one = backends.iter().find(|one| one["address"] == backend).expect("it is there");
        one["state"].as_str().expect("a word").to_owned()
    }

    /// How many flows of datagrams are answered.
    fn echoes(&self) -> usize {
        self.sockets.iter().filter(|socket| echo(socket, b"a question")).count()
    }

    fn flows_of(&self, transport: &str, backend: &str) -> usize {
        let flows = self.penstock.json("/v1/flows?client=10.1.0.2&limit=1000");
        let flows = flows["flows"].as_array().expect("a list").clone();
        let is_it =
            |one: &&serde_json::Value| one["transport"] == transport && one["backend"] == backend;
        flows.iter().filter(is_it).count()
    }

    fn ask_all(&mut self) -> Vec<Result<String, Error>> {
        self.connections.iter_mut().map(ask).collect()
    }
}
