//! Handshakes that do not go on: those of others do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use rustix::net::{AddressFamily, SocketType, bind, connect, ipproto, socket};

use crate::harness::{Certificates, Origin, Penstock, installed, until};
use crate::tls::{config, has, openssl};

/// Handshakes that a shard has at a time.
const PLACES: usize = 32;

/// A connection to `to` from 127.0.0.5, with this said.
fn say_from_elsewhere(to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::TCP));
    let socket = socket.expect("a socket");
    bind(&socket, &SocketAddr::from(([127, 0, 0, 5], 0))).expect("a port");
    connect(&socket, &to).expect("it listens");
    let mut stream = TcpStream::from(socket);
    stream.write_all(bytes).expect("it is taken");
    stream
}

/// The hello of a client that could go on.
fn hello() -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-servername", "a.test"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl starts");
    let (mut stream, _) = listener.accept().expect("it comes");
    let (mut record, mut rest) = (vec![0; 5], Vec::new());
    stream.read_exact(&mut record).expect("a record's head");
    rest.resize(usize::from(u16::from_be_bytes([record[3], record[4]])), 0);
    stream.read_exact(&mut rest).expect("the rest of it");
    let _ = client.kill();
    let _ = client.wait();
    [record, rest].concat()
}

#[test]
fn handshakes_that_stand_still_keep_nobody_out() {
    if !installed("openssl") {
        return;
    }
    let (origin, files) = (Origin::named("origin"), Certificates::make(&["a.test"]));
    let limits = format!("limits = {{ handshakes = {PLACES} }}\n");
    let runtime = "[runtime]\nshards = 1\npin = false\n";
    let text = config(&origin, &(files.listener(1, "") + &limits)) + runtime;
    let penstock = Penstock::start(&text);
    let address = penstock.address("web");
    let failures =
        |cause: &str| penstock.metric(&format!("penstock_failures_total{{cause=\"{cause}\"}}"));
    let shakes =
        || has(&openssl(&penstock, &files, &["-servername", "a.test"], "a.test"), &["200 OK"]);
    let attack = |bytes: &[u8]| -> Vec<TcpStream> {
        (0..3 * PLACES).map(|_| say_from_elsewhere(address, bytes)).collect()
    };
    // Half a hello takes no place.
    let half = attack(&[22, 3, 1, 2]);
    shakes();
    assert_eq!((failures("handshakes_max"), failures("handshake_gave_way")), (0.0, 0.0));
    drop(half);
    // A whole one does, and its source is the one that pays.
    let whole = attack(&hello());
    let too_many = 2.0 * PLACES as f64;
    until("they have all places", || (failures("handshakes_max") >= too_many).then_some(()));
    shakes();
    assert_eq!((failures("handshakes_max"), failures("handshake_gave_way")), (too_many, 1.0));
    drop(whole);
}
