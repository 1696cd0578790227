//! Services of datagrams: plain sockets on both sides, and nginx as an endpoint.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Folder, PATIENCE, Penstock, installed, until};

/// A service `s` of datagrams in front of these, on a port that the kernel chooses.
fn config(vip: &str, endpoints: &[SocketAddr], more: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "[service.s]\nvip = \"{vip}\"\nports = \"udp/0\"\nto = \"c\"\n{more}\n\
         [cluster.c]\nendpoints = [{}]\n",
        endpoints.join(", ")
    )
}

fn port_of(penstock: &Penstock) -> u16 {
    penstock.service_address("s").port()
}

/// Sends everything back, with its name in front where there is one.
fn server(ip: &str, name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind((ip, 0)).expect("a port");
    let address = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut bytes = vec![0; 65_535];
        while let Ok((length, peer)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&[name.as_bytes(), &bytes[..length]].concat(), peer);
        }
    });
    address
}

/// A client's socket, of the family of what it asks.
fn client(to: SocketAddr) -> UdpSocket {
    let any = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(any).expect("a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    socket
}

/// Asks, and gives the answer with who it is from.
fn ask(socket: &UdpSocket, to: SocketAddr, question: &[u8]) -> (Vec<u8>, SocketAddr) {
    let mut answer = vec![0; 65_535];
    assert_eq!(socket.send_to(question, to).expect("it is sent"), question.len());
    let (length, from) = socket.recv_from(&mut answer).expect("an answer");
    answer.truncate(length);
    (answer, from)
}

#[test]
fn datagrams_of_every_size_cross_and_come_from_the_address_that_was_asked() {
    let cases: [(&str, &[&str]); 4] = [
        ("127.0.0.1", &["127.0.0.1"]),
        ("::1", &["::1"]),
        // Of a socket for all addresses, the one that was asked; of one for both families, too.
        ("0.0.0.0", &["127.0.0.1", "127.0.0.7"]),
        ("::", &["::1", "127.0.0.1", "127.0.0.7"]),
    ];
    for (vip, asked) in cases {
        for endpoint in ["127.0.0.1", "::1"] {
            let penstock = Penstock::start(&config(vip, &[server(endpoint, "")], ""));
            let port = port_of(&penstock);
            let (mut count, mut bytes) = (0, 0);
            for ip in asked {
                let to = SocketAddr::new(ip.parse::<IpAddr>().expect("an address"), port);
                let socket = client(to);
                for size in [0, 1, 1_400, 9_000, 60_000] {
                    let question: Vec<u8> = (0..size as u32).map(|at| (at % 251) as u8).collect();
                    let (answer, from) = ask(&socket, to, &question);
                    assert!(answer == question, "{size} bytes to {to} and back");
                    assert_eq!(from, to, "by {vip}");
                    (count, bytes) = (count + 1, bytes + size);
                }
            }
            // The last answer is here before it is counted.
            let counted = |name: &str, expected: f64| {
                let metric = format!("penstock_service_{name}_total{{service=\"s\"}}");
                until(name, || (penstock.metric(&metric) == expected).then_some(()));
            };
            for direction in ["received", "sent"] {
                counted(&format!("{direction}_datagrams"), f64::from(count));
                counted(&format!("{direction}_bytes"), f64::from(bytes));
            }
            // A flow for each client.
            counted("connections", asked.len() as f64);
            counted("lost_datagrams", 0.0);
        }
    }
}

#[test]
fn bursts_cross_in_their_order() {
    for ip in ["127.0.0.1", "::1"] {
        let penstock = Penstock::start(&config(ip, &[server(ip, "")], ""));
        let to = SocketAddr::new(ip.parse().expect("an address"), port_of(&penstock));
        let socket = client(to);
        let sizes = [1_200, 1_200, 1_200, 300, 1_200, 1_200, 0, 9, 9, 9, 20_000, 20_000, 1_500];
        for round in 0..18 {
            // The first byte of each that has one says which it is.
            let questions: Vec<Vec<u8>> =
                sizes.iter().zip(1..).map(|(size, at)| vec![round * 13 + at; *size]).collect();
            for question in &questions {
                socket.send_to(question, to).expect("it is sent");
            }
            for question in &questions {
                let mut answer = vec![0; 65_535];
                let (length, _) = socket.recv_from(&mut answer).expect("an answer");
                assert_eq!(
                    (length, answer.first()),
                    (question.len(), question.first().or(Some(&0)))
                );
            }
        }
    }
}

#[test]
fn a_flow_keeps_its_endpoint_over_a_reload_and_is_a_line_in_the_log() {
    let folder = Folder::new();
    let log = folder.join("access.log");
    let endpoints = [server("127.0.0.1", "a"), server("127.0.0.1", "b")];
    // Long enough for none to end by itself.
    let more = "timeouts = { datagram = \"1h\" }";
    let observe = format!("[observe]\naccess_log = \"json:{}\"\n", log.display());
    let text = config("127.0.0.1", &endpoints, more) + &observe;
    let mut penstock = Penstock::start(&text);
    let to = SocketAddr::from(([127, 0, 0, 1], port_of(&penstock)));
    let clients: Vec<UdpSocket> = (0..20).map(|_| client(to)).collect();
    let first: Vec<_> = clients.iter().map(|socket| ask(socket, to, b"!").0).collect();
    assert!(first.contains(&b"a!".to_vec()) && first.contains(&b"b!".to_vec()), "{first:?}");
    penstock.write(&(text + "# anew\n"));
    assert_eq!(penstock.reload().0, 200);
    for (socket, first) in clients.iter().zip(&first) {
        assert_eq!(ask(socket, to, b"!").0, *first);
    }
    penstock.signal(Signal::TERM);
    assert!(penstock.wait().success(), "{}", penstock.errors());
    let text = std::fs::read_to_string(&log).expect("it was written");
    let parse = |line: &str| -> Value { serde_json::from_str(line).expect("an object") };
    let lines: Vec<Value> = text.lines().map(parse).collect();
    assert_eq!(lines.len(), 20, "{text}");
    for line in lines {
        assert_eq!(line["protocol"], "UDP", "{line}");
        assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&2.into(), &4.into()), "{line}");
        assert_eq!((&line["service"], &line["cluster"]), (&"s".into(), &"c".into()), "{line}");
    }
}

#[test]
fn nobody_is_there_and_then_somebody_is() {
    let gone = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let gone = gone.expect("a port that nobody has now");
    let alive = server("127.0.0.1", "");
    let penstock = Penstock::start(&config("127.0.0.1", &[gone, alive], ""));
    let to = SocketAddr::from(([127, 0, 0, 1], port_of(&penstock)));
    for _ in 0..10 {
        let socket = client(to);
        socket.set_read_timeout(Some(std::time::Duration::from_millis(200))).expect("an option");
        // The first is lost where the endpoint is gone; who asks again is answered.
        until("an answer", || {
            socket.send_to(b"anybody?", to).expect("it is sent");
            socket.recv(&mut [0; 100]).ok()
        });
    }
    // Another endpoint made it good: the failure is the cluster's alone.
    let refused = penstock.metric("penstock_cluster_connect_failures_total{cluster=\"c\"}");
    assert!(refused >= 1.0, "one of two endpoints was gone");
    let failures = penstock.metric("penstock_failures_total{cause=\"connect_refused\"}");
    assert_eq!(failures, 0.0);
}

#[test]
fn a_port_that_another_process_has_is_refused_and_a_stop_ends_flows_soon() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let endpoint = server("127.0.0.1", "");
    let mut penstock = Penstock::start(&config("127.0.0.1", &[endpoint], ""));
    let text = config("127.0.0.1", &[endpoint], "");
    penstock.write(&text.replace("udp/0", &format!("udp/{port}")));
    let (status, answer) = penstock.reload();
    assert!(status >= 400 && answer.contains(&format!("127.0.0.1:{port}")), "{status} {answer}");
    let to = SocketAddr::from(([127, 0, 0, 1], port_of(&penstock)));
    assert_eq!(ask(&client(to), to, b"still there?").0, b"still there?");
    penstock.signal(Signal::TERM);
    // Its flow could be silent for 30 s, and the drain may take as long.
    let began = std::time::Instant::now();
    assert!(penstock.wait().success());
    assert!(began.elapsed() < std::time::Duration::from_secs(25), "{:?}", began.elapsed());
}

/// Ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn flows_that_nothing_answers_keep_nobody_out() {
    let endpoint = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = endpoint.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut bytes = [0; 100];
        while let Ok((length, peer)) = endpoint.recv_from(&mut bytes) {
            if &bytes[..length] == b"asks" {
                let _ = endpoint.send_to(b"is answered", peer);
            }
        }
    });
    let text = config("127.0.0.1", &[address], "") + "limits = { connections = 64 }\n";
    let penstock = Penstock::start(&text);
    let to = SocketAddr::from(([127, 0, 0, 1], port_of(&penstock)));
    let old = client(to);
    // Asked twice, it is proven.
    (0..2).for_each(|_| assert_eq!(ask(&old, to, b"asks").0, b"is answered"));
    let begun = "penstock_service_connections_total{service=\"s\"}";
    for round in 1..=5_u8 {
        for _ in 0..200 {
            let socket = UdpSocket::bind(("127.0.1.1", 0)).expect("a port");
            socket.send_to(b"x", to).expect("it is sent");
        }
        // Some may be lost on the way to us.
        let most = f64::from(round) * 200.0 * 0.9;
        until("they have come", || (penstock.metric(begun) > most).then_some(()));
        assert_eq!(ask(&client(to), to, b"asks").0, b"is answered");
        assert_eq!(ask(&old, to, b"asks").0, b"is answered");
    }
    let failures =
        |cause: &str| penstock.metric(&format!("penstock_failures_total{{cause=\"{cause}\"}}"));
    assert_eq!(failures("cluster_full"), 0.0);
    assert!(failures("flow_gave_way") > 500.0, "{}", failures("flow_gave_way"));
    assert!(penstock.metric("penstock_service_connections{service=\"s\"}") <= 64.0);
}

#[test]
fn nginx_answers_behind_it() {
    if !installed("nginx") {
        return;
    }
    let folder = Folder::new();
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let address = port.expect("a port");
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load = match std::path::Path::new(module).exists() {
        true => format!("load_module {module};\n"),
        false => String::new(),
    };
    let text = format!(
        "{load}daemon off;\nmaster_process off;\npid {}/pid;\nerror_log stderr warn;\nevents {{}}\n\
         stream {{ server {{ listen {address} udp; return \"$protocol from nginx\"; }} }}\n",
        folder.join("").display(),
    );
    let path = folder.join("nginx.conf");
    std::fs::write(&path, text).expect("a file");
    let mut nginx = Command::new("nginx");
    nginx.arg("-p").arg(folder.join("")).arg("-c").arg(&path).stderr(Stdio::inherit());
    let _nginx = Ends(nginx.spawn().expect("nginx starts"));
    let penstock = Penstock::start(&config("127.0.0.1", &[address], ""));
    let to = SocketAddr::from(([127, 0, 0, 1], port_of(&penstock)));
    let socket = client(to);
    socket.set_read_timeout(Some(std::time::Duration::from_millis(500))).expect("an option");
    // Until it listens.
    let answer = until("nginx answers", || {
        let mut answer = [0; 100];
        socket.send_to(b"who?", to).expect("it is sent");
        let length = socket.recv(&mut answer).ok()?;
        Some(answer[..length].to_vec())
    });
    assert_eq!(answer, b"UDP from nginx");
}
