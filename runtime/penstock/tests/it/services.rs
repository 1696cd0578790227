//! Services of layer 4 in front of servers that were not written by us, and of plain sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Certificates, Folder, Origin, PATIENCE, Penstock, installed, until};

/// A service `s` in front of these, on a port of this address that the kernel chooses.
pub(crate) fn config(vip: &str, endpoints: &[SocketAddr], more: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "[service.s]\nvip = \"{vip}\"\nports = \"tcp/0\"\nto = \"c\"\n{more}\n\
         [cluster.c]\nendpoints = [{}]\n",
        endpoints.join(", ")
    )
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream.set_write_timeout(Some(PATIENCE)).expect("an option");
    stream
}

/// Serves each connection to a listener on this address with `serve`.
pub(crate) fn server(
    ip: &str,
    serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Sends back what comes, and its end.
pub(crate) fn echo(stream: TcpStream) {
    let (mut from, mut to) = (stream.try_clone().expect("a handle"), stream);
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// Bytes that show where they are.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes as u32 / 4).flat_map(u32::to_le_bytes).collect()
}

/// Sends all of this and its end at once, and gives what comes back.
fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    let mut sender = stream.try_clone().expect("a handle");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            sender.write_all(bytes).expect("it takes all");
            sender.shutdown(Shutdown::Write).expect("an end");
        });
        let mut back = Vec::new();
        stream.read_to_end(&mut back).expect("all of it, and its end");
        back
    })
}

#[test]
fn bytes_and_ends_cross_both_ways_over_ipv4_and_ipv6() {
    for ip in ["127.0.0.1", "::1"] {
        let penstock = Penstock::start(&config(ip, &[server(ip, echo)], ""));
        let address = penstock.service_address("s");
        for bytes in [0, 4, 60_000, 24 << 20] {
            let text = pattern(bytes);
            assert!(exchange(address, &text) == text, "{bytes} bytes to {address} and back");
        }
        let service = &penstock.json("/v1/services")[0];
        assert_eq!(service["accepted"], 4);
        assert_eq!((&service["mode"], &service["clusters"][0]), (&"terminate".into(), &"c".into()));
        until("nothing is open", || {
            (penstock.json("/v1/services")[0]["active"] == 0).then_some(())
        });
        let carried = f64::from(4 + 60_000 + (24 << 20));
        for name in ["received", "sent"] {
            let name = format!("penstock_service_{name}_bytes_total{{service=\"s\"}}");
            assert_eq!(penstock.metric(&name), carried, "{name}");
        }
    }
}

#[test]
fn a_reset_of_either_side_reaches_the_other() {
    // A close with unread bytes is a reset (RFC 9293 §3.6.1, and what Linux does).
    let rude = server("127.0.0.1", |mut stream| {
        let _ = stream.read_exact(&mut [0; 1]);
    });
    let penstock = Penstock::start(&config("127.0.0.1", &[rude], ""));
    let mut stream = connect(penstock.service_address("s"));
    stream.write_all(&[1; 100]).expect("it takes some");
    let error = stream.read_to_end(&mut Vec::new()).expect_err("no orderly end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let (tell, told) = std::sync::mpsc::channel();
    let patient = server("127.0.0.1", move |mut stream| {
        stream.write_all(&[1; 100]).expect("it takes some");
        let error = stream.read(&mut [0; 1]).map_err(|error| error.kind());
        tell.send(error).expect("the test waits");
    });
    penstock.write(&config("127.0.0.1", &[patient], ""));
    assert_eq!(penstock.reload().0, 200);
    let mut stream = connect(penstock.service_address("s"));
    stream.read_exact(&mut [0; 1]).expect("the first byte");
    // The rest stays unread.
    drop(stream);
    let heard = told.recv_timeout(PATIENCE).expect("it hears something");
    assert_eq!(heard, Err(ErrorKind::ConnectionReset));
    assert_eq!(penstock.metric("penstock_failures_total{cause=\"upstream_reset\"}"), 1.0);
    assert_eq!(penstock.metric("penstock_failures_total{cause=\"downstream_gone\"}"), 1.0);
}

#[test]
fn who_does_not_read_is_cut_though_it_sends() {
    for ip in ["127.0.0.1", "::1"] {
        let fountain = server(ip, |mut stream| while stream.write_all(&[7; 65_536]).is_ok() {});
        let more = "timeouts = { idle = \"1h\", write_stall = \"2s\" }";
        let penstock = Penstock::start(&config(ip, &[fountain], more));
        let mut stream = connect(penstock.service_address("s"));
        until("it is cut", || stream.write_all(b"x").is_err().then_some(()));
        until("it is counted", || {
            let stalled = "penstock_failures_total{cause=\"downstream_stalled\"}";
            (penstock.metric(stalled) == 1.0).then_some(())
        });
        // Much was carried before, and waited in the kernel's buffers.
        let sent = penstock.metric("penstock_service_sent_bytes_total{service=\"s\"}");
        assert!(sent >= 65_536.0, "{sent}");
    }
}

#[test]
fn what_a_drain_cuts_is_a_reset_and_no_end() {
    let echo = server("127.0.0.1", echo);
    let runtime = "[runtime]\nshards = 1\npin = false\ndrain = \"1s\"\n";
    let mut penstock = Penstock::start(&(runtime.to_owned() + &config("127.0.0.1", &[echo], "")));
    let address = penstock.service_address("s");
    let (mut cut, mut done) = (connect(address), connect(address));
    for stream in [&mut cut, &mut done] {
        stream.write_all(b"here").expect("it takes some");
        stream.read_exact(&mut [0; 4]).expect("it comes back");
    }
    penstock.signal(Signal::TERM);
    until("the port is closed", || TcpStream::connect(address).err());
    // What ends by itself meanwhile ends in order.
    done.shutdown(Shutdown::Write).expect("an end");
    assert_eq!(done.read(&mut [0; 4]).expect("an end"), 0);
    let error = cut.read(&mut [0; 4]).expect_err("no orderly end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(penstock.wait().success(), "{}", penstock.errors());
}

#[test]
fn connections_outlive_their_service_and_each_is_a_line_in_the_log() {
    let folder = Folder::new();
    let (path, echo) = (folder.join("access.log"), server("127.0.0.1", echo));
    // One shard: each has a turn of its own in which it asks endpoints.
    let log =
        format!("[runtime]\nshards = 1\n[observe]\naccess_log = \"json:{}\"\n", path.display());
    // Nobody listens there: another endpoint has to be tried.
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = free.local_addr().expect("an address");
    drop(free);
    let text = config("127.0.0.1", &[nobody, echo], "") + "balance = \"round-robin\"\n";
    let penstock = Penstock::start_in(folder, &(log.clone() + &text));
    let address = penstock.service_address("s");
    let mut streams = [connect(address), connect(address)];
    let mut back = [0; 5];
    for stream in &mut streams {
        stream.write_all(b"first").expect("it takes some");
        stream.read_exact(&mut back).expect("it comes back");
    }
    penstock.write(&log);
    assert_eq!(penstock.reload().0, 200);
    assert_eq!(penstock.json("/v1/services"), Value::Array(vec![]));
    until("the port is closed", || {
        let error = TcpStream::connect(address).err()?;
        (error.kind() == ErrorKind::ConnectionRefused).then_some(())
    });
    for stream in &mut streams {
        stream.write_all(b"again").expect("it takes some");
        stream.read_exact(&mut back).expect("it comes back");
        assert_eq!(&back, b"again");
        stream.shutdown(Shutdown::Write).expect("an end");
        assert_eq!(stream.read(&mut back).expect("an end"), 0);
    }
    let lines = until("two lines", || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        (text.lines().count() == 2).then_some(text)
    });
    let mut attempts = 0;
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).expect("an object");
        assert_eq!((&line["service"], &line["protocol"]), (&"s".into(), &"TCP".into()));
        assert_eq!(line["endpoint"], echo.to_string());
        assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&10.into(), &10.into()));
        attempts += line["attempts"].as_u64().expect("a number");
    }
    assert_eq!(attempts, 3);
}

/// A server in a process of its own, on a port that was free; killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn redis_does_not_notice() {
    if !installed("redis-server") || !installed("redis-cli") {
        return;
    }
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let redis = free.local_addr().expect("an address");
    drop(free);
    let port = redis.port().to_string();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let _server = Server(command.spawn().expect("redis-server starts"));
    until("redis listens", || TcpStream::connect(redis).ok());
    let penstock = Penstock::start(&config("127.0.0.1", &[redis], ""));
    let port = penstock.service_address("s").port().to_string();
    let ask = |arguments: &[&str]| {
        let output = Command::new("redis-cli").args(["-p", &port]).args(arguments).output();
        String::from_utf8(output.expect("redis-cli runs").stdout).expect("text")
    };
    let value = "x".repeat(100_000);
    assert_eq!(ask(&["set", "key", &value]), "OK\n");
    assert_eq!(ask(&["get", "key"]), format!("{value}\n"));
    assert_eq!(ask(&["strlen", "key"]), "100000\n");
}

#[test]
fn tls_goes_to_whom_its_name_is_for_and_is_ended_there() {
    if !installed("curl") || !installed("openssl") {
        return;
    }
    let files = Certificates::make(&["a.test", "b.test"]);
    let origin = |name: &'static str| {
        let origin = Origin::named(name);
        (Penstock::start(&crate::tls::config(&origin, &files.listener(2, ""))), origin)
    };
    let ((one, _one), (other, _other)) = (origin("one"), origin("other"));
    let edge = Penstock::start(&format!(
        "[service.s]\nvip = \"127.0.0.1\"\nports = \"tcp/0\"\n\
         [[service.s.route]]\nserver_name = \"a.test\"\nto = \"one\"\n\
         [[service.s.route]]\nserver_name = \"b.test\"\nto = \"other\"\n\
         [cluster.one]\nendpoints = [\"{}\"]\n[cluster.other]\nendpoints = [\"{}\"]\n",
        one.address("web"),
        other.address("web")
    ));
    let port = edge.service_address("s").port();
    let curl = |name: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "--cacert", &files.path("ca.pem")]);
        curl.args(["--resolve", &format!("{name}:{port}:127.0.0.1")]);
        curl.arg(format!("https://{name}:{port}/")).output().expect("curl runs")
    };
    for (name, expected) in [("a.test", "one"), ("b.test", "other")] {
        let output = curl(name);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.stdout, expected.as_bytes(), "{errors}");
    }
    let output = curl("c.test");
    // curl(1): 35 is a handshake that failed.
    assert_eq!(output.status.code(), Some(35), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(edge.metric("penstock_failures_total{cause=\"tls_unknown_name\"}"), 1.0);
}

#[test]
fn a_client_keeps_its_address_through_two_appliances() {
    if !installed("curl") {
        return;
    }
    for version in ["v1", "v2"] {
        let origin = Origin::named("one");
        let from = "proxy_protocol.from = [\"127.0.0.0/8\", \"::1\"]\n";
        let text = origin.config().replace("to = \"app\"", &format!("{from}to = \"app\""));
        let inner = Penstock::start(&text);
        let more = format!("send_proxy_protocol = \"{version}\"");
        let outer = Penstock::start(&config("::1", &[inner.address("web")], &more));
        let url = format!("http://{}/", outer.service_address("s"));
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", &url]);
        assert_eq!(curl.output().expect("curl runs").stdout, b"one");
        let head = until("a request came", || origin.head());
        assert!(head.to_ascii_lowercase().contains("x-forwarded-for: ::1\r\n"), "{head}");
        // By hand, for a client that is nowhere here.
        let mut stream = connect(inner.address("web"));
        let request = "GET / HTTP/1.0\r\nHost: a\r\n\r\n";
        let text = format!("PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n{request}");
        stream.write_all(text.as_bytes()).expect("it takes some");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let head = until("a request came", || origin.head());
        assert!(head.to_ascii_lowercase().contains("x-forwarded-for: 192.0.2.7\r\n"), "{head}");
        // And one that says it wrongly.
        let mut stream = connect(inner.address("web"));
        stream.write_all(request.as_bytes()).expect("it takes some");
        // An end or a reset: unread bytes may lie there.
        assert!(!matches!(stream.read(&mut [0; 1]), Ok(1..)));
        assert_eq!(inner.metric("penstock_failures_total{cause=\"proxy_header_invalid\"}"), 1.0);
    }
}

#[test]
fn bulk_stays_in_the_kernel_and_small_talk_does_not() {
    for (pipes, spliced) in [(64, true), (0, false)] {
        let runtime = format!("[runtime]\nshards = 1\npin = false\npipes = {pipes}\n");
        let echo = server("127.0.0.1", echo);
        let penstock = Penstock::start(&(runtime + &config("127.0.0.1", &[echo], "")));
        let address = penstock.service_address("s");
        let moved = || penstock.metric("penstock_service_spliced_bytes_total{service=\"s\"}");
        let small = pattern(100_000);
        assert!(exchange(address, &small) == small);
        assert_eq!(moved(), 0.0);
        let large = pattern(64 << 20);
        assert!(exchange(address, &large) == large);
        until("all is counted", || {
            let name = "penstock_service_sent_bytes_total{service=\"s\"}";
            (penstock.metric(name) >= f64::from(100_000 + (64 << 20))).then_some(())
        });
        assert_eq!(moved() > f64::from(32 << 20), spliced, "{} bytes", moved());
    }
}
