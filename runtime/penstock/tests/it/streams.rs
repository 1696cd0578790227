//! Filters of raw connections over real sockets; and the same modules in Envoy, which give the same
//! bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use crate::harness::{Envoy, Origin, Penstock, Plugin, until};
use crate::services::{config, connect, echo, server};

/// Built with our SDK, and with the public crate: each speaks for lines.
const MODULES: [Plugin<'_>; 2] = [
    Plugin { wasm: "tests/fixtures/filters/sdk-stream/stream.wasm", config: "{}", root_id: "" },
    Plugin {
        wasm: "tests/fixtures/filters/proxy-wasm-stream/stream.wasm",
        config: "",
        root_id: "",
    },
];

/// An endpoint that gives back what it gets, and a cluster that filters may ask.
struct Behind {
    app: SocketAddr,
    /// What it answers; 0 for nothing at all.
    status: Arc<AtomicU16>,
    auth: Origin,
}

impl Behind {
    fn start(ip: &str) -> Behind {
        let status = Arc::new(AtomicU16::new(200));
        let told = Arc::clone(&status);
        let auth = Origin::start(move |_| match told.load(Relaxed) {
            0 => String::new(),
            status => format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n"),
        });
        Behind { app: server(ip, echo), status, auth }
    }

    /// A service with this filter in front of the endpoint.
    fn serve(&self, ip: &str, plugin: Plugin<'_>, more: &str) -> Penstock {
        let service = format!("filters = [\"one\"]\n{more}");
        let text = config(ip, &[self.app], &service);
        Penstock::start(&format!(
            "{text}[cluster.auth]\nendpoints = [\"{}\"]\n\
             [filter.one]\nwasm = \"{}\"\nconfig = '''{}'''\nhttp_calls = [\"auth\"]\n\
             # Not what is tested, and the machine may be busy.\n\
             deadline = {{ headers = \"1s\", body = \"1s\" }}\n",
            self.auth.address,
            plugin.path().display(),
            plugin.config,
        ))
    }
}

/// Sends each piece, and the end; what comes back, and by what it ends if not in order.
fn talk(address: SocketAddr, pieces: &[&str]) -> (String, Option<ErrorKind>) {
    let mut stream = connect(address);
    let sent = pieces.iter().try_for_each(|piece| stream.write_all(piece.as_bytes()));
    // Who is closed on early may find that nobody takes the rest.
    let _ = sent.and_then(|()| stream.shutdown(Shutdown::Write));
    let mut back = Vec::new();
    let ended = stream.read_to_end(&mut back);
    (String::from_utf8(back).expect("text"), ended.err().map(|error| error.kind()))
}

/// Sends a line and waits for this; the connection stays.
fn line(stream: &mut std::net::TcpStream, text: &str, expected: &str) {
    stream.write_all(text.as_bytes()).expect("it is taken");
    let mut back = vec![0; expected.len()];
    stream.read_exact(&mut back).expect("an answer");
    assert_eq!(String::from_utf8_lossy(&back), expected);
}

#[test]
fn filters_see_hold_and_change_what_passes_over_ipv4_and_ipv6() {
    for (plugin, ip) in MODULES.into_iter().zip(["127.0.0.1", "::1"]) {
        let behind = Behind::start(ip);
        let penstock = behind.serve(ip, plugin, "");
        let address = penstock.service_address("s");
        let mut stream = connect(address);
        line(&mut stream, "hello\n", "> HELLO\n");
        line(&mut stream, "again\n", "AGAIN\n");
        // Held until the line is whole; what is no line ends with the half.
        stream.write_all(b"in pie").expect("it is taken");
        line(&mut stream, "ces\n", "IN PIECES\n");
        line(&mut stream, "call\n", "CALL\n");
        stream.write_all(b"bye").expect("it is taken");
        stream.shutdown(Shutdown::Write).expect("an end");
        let mut rest = String::new();
        stream.read_to_string(&mut rest).expect("all of it, and its end");
        assert_eq!(rest, "BYE");
        // More than a socket holds, and less than a filter may.
        let long = "a".repeat(700_000);
        let (back, ended) = talk(address, &[&long[..350_000], &long[350_000..], "\n"]);
        assert_eq!((back.len(), ended), (700_003, None));
        assert!(back.starts_with("> AAA") && back.ends_with("A\n"));
        until("nothing is open", || {
            (penstock.json("/v1/services")[0]["active"] == 0).then_some(())
        });
        let told = penstock.errors();
        for text in ["new 127.0.0.1:", "new [::1]:"].iter().filter(|one| one.contains(ip)) {
            assert!(told.contains(text), "{told}");
        }
        assert_eq!(penstock.json("/v1/filters")[0]["name"], "one");
    }
}

#[test]
fn what_a_filter_closes_or_fails_on_ends_with_its_cause() {
    for plugin in MODULES {
        let behind = Behind::start("127.0.0.1");
        let penstock = behind.serve("127.0.0.1", plugin, "");
        let address = penstock.service_address("s");
        assert_eq!(talk(address, &["quit\n"]), (String::new(), None));
        for status in [404, 0] {
            behind.status.store(status, Relaxed);
            assert_eq!(talk(address, &["call\n"]), (String::new(), None));
        }
        let failures =
            |cause: &str| penstock.metric(&format!("penstock_failures_total{{cause=\"{cause}\"}}"));
        until("three were closed", || (failures("filter_closes") == 3.0).then_some(()));
        let (back, ended) = talk(address, &["panic\n"]);
        assert_eq!((&*back, ended), ("", Some(ErrorKind::ConnectionReset)));
        until("one failed", || (failures("filter_failed") == 1.0).then_some(()));
        assert_eq!(talk(address, &["hello\n"]), ("> HELLO\n".to_owned(), None));
    }
}

#[test]
fn a_filter_for_requests_is_refused_by_name() {
    let behind = Behind::start("127.0.0.1");
    let penstock = behind.serve("127.0.0.1", MODULES[0], "");
    let text = |filter: &str, listener: &str| {
        let wasm = Plugin { wasm: filter, ..Plugin::default() }.path();
        let block = format!("[filter.one]\nwasm = \"{}\"\nconfig = {{}}\n", wasm.display());
        let chain = "filters = [\"one\"]";
        match listener {
            "" => config("127.0.0.1", &[behind.app], chain) + &block,
            _ => format!(
                "{}{listener}\n{chain}\nto = \"c\"\n{block}",
                config("127.0.0.1", &[behind.app], "")
            ),
        }
    };
    let refused = |text: &str, expected: &str| {
        penstock.write(text);
        let (status, told) = penstock.reload();
        assert!(status >= 400 && told.contains(expected), "{status}: {told}");
    };
    let edit = "filters/compiled/header-edit.wasm";
    refused(&text(edit, ""), "is in `filters` of service.s");
    let web = "[listener.web]\naddress = \"127.0.0.1:0\"";
    refused(&text(MODULES[0].wasm, web), "is in `filters` of listener.web");
    // What was there goes on.
    let address = penstock.service_address("s");
    assert_eq!(talk(address, &["hello\n"]), ("> HELLO\n".to_owned(), None));
}

#[test]
fn a_filter_of_connections_behaves_as_in_envoy() {
    let Some(program) = Envoy::program() else { return };
    for plugin in MODULES {
        let behind = Behind::start("127.0.0.1");
        let penstock = behind.serve("127.0.0.1", plugin, "");
        let (app, auth) = (behind.app, behind.auth.address);
        let envoy = Envoy::start_raw(&program, plugin, app, auth);
        let (here, there) = (penstock.service_address("s"), envoy.address());
        let check = |pieces: &[&str], expected: &str| {
            let (ours, theirs) = (talk(here, pieces).0, talk(there, pieces).0);
            assert_eq!(ours, theirs, "{pieces:?}; Envoy said: {}", envoy.errors());
            assert_eq!(ours, expected, "{pieces:?}");
        };
        check(&["hello\n"], "> HELLO\n");
        check(&["he", "llo\nwor", "ld\n"], "> HELLO\nWORLD\n");
        check(&["no line"], "> NO LINE");
        check(&[""], "");
        check(&["call\n"], "> CALL\n");
        check(&["quit\n"], "");
        let long = "b".repeat(200_000) + "\n";
        check(&[&long], &format!("> {}", long.to_uppercase()));
        for status in [404, 0] {
            behind.status.store(status, Relaxed);
            check(&["call\n"], "");
        }
    }
}
