//! What is read of a connection before it is served: who it is from, and which name it asks for.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, Env, SendBuf, Stream, StreamExt};
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, SimEnv, SimStream, World, check_few_seeds};
use penstock_wire::proxy_protocol::{Addresses, Parsed, parse, write_v1, write_v2};

use crate::proxy::Proxy;

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(600);
/// A hello for `a.example`.
const HELLO: &[u8] = include_bytes!("../../runtime/wire/src/tls_hello/samples/openssl-tls13.bin");

/// Everything that came in on one connection.
type Heard = Rc<RefCell<Vec<Vec<u8>>>>;

/// An endpoint that says "hi", and keeps what it hears until it ends.
fn endpoint(world: &World) -> (Address, Heard) {
    let env = world.node("endpoint", Limits::AMPLE);
    let (own, address, heard) = (env.clone(), env.address(8080), Heard::default());
    let all = heard.clone();
    env.listen(&address, move |stream| {
        let all = all.clone();
        own.spawn(async move {
            stream.start_send(SendBuf::of(b"hi".to_vec()));
            let mut bytes = Vec::new();
            while let Ok(Some(chunk)) = stream.recv().await {
                bytes.extend_from_slice(&chunk);
            }
            all.borrow_mut().push(bytes);
        });
    });
    (address, heard)
}

/// A service in front of these clusters of one endpoint each: `c0`, `c1` and so on.
fn config(endpoints: &[&Address], service: &str) -> String {
    let mut text = format!("[service.s]\nvip = \"10.9.9.9\"\nports = \"tcp/80\"\n{service}\n");
    for (index, endpoint) in endpoints.iter().enumerate() {
        text += &format!("[cluster.c{index}]\nendpoints = [\"{endpoint}\"]\n");
    }
    text
}

/// How a connection went: what came back, or that it was reset.
type Fate = Rc<RefCell<Option<Result<Vec<u8>, ()>>>>;

/// Sends `bytes` in `pieces` pieces on a connection of its own, and reads to the end. It ends its
/// own direction unless it is to stay.
fn ask(env: &SimEnv, front: &Address, bytes: &[u8], pieces: usize, ends: bool) -> Fate {
    let (own, front, fate) = (env.clone(), front.clone(), Fate::default());
    let (bytes, told) = (bytes.to_vec(), fate.clone());
    env.spawn(async move {
        let stream = own.connect(&front).await.expect("the proxy listens");
        let result = talk(&stream, &bytes, pieces, ends).await;
        *told.borrow_mut() = Some(result);
    });
    fate
}

async fn talk(stream: &SimStream, bytes: &[u8], pieces: usize, ends: bool) -> Result<Vec<u8>, ()> {
    for piece in bytes.chunks(bytes.len().div_ceil(pieces).max(1)) {
        stream.send(SendBuf::of(piece.to_vec())).await.map_err(|_| ())?;
    }
    stream.sent().await.map_err(|_| ())?;
    if ends {
        stream.shutdown_write();
    }
    let mut back = Vec::new();
    while let Some(chunk) = stream.recv().await.map_err(|_| ())? {
        back.extend_from_slice(&chunk);
    }
    Ok(back)
}

fn settled(world: &World, fates: &[&Fate]) -> Vec<Result<Vec<u8>, ()>> {
    let done = || fates.iter().all(|fate| fate.borrow().is_some());
    assert!(world.run_until(PATIENCE, done), "{:#?}", world.leaks());
    fates.iter().map(|fate| fate.borrow().clone().expect("it is done")).collect()
}

/// A header for a connection from this source.
fn header(version: u8, source: &str) -> (Vec<u8>, Addresses) {
    let (source, destination) = (source, "198.51.100.2:443");
    let end = |text: &str| text.parse().expect("an address");
    let ends = Addresses { source: end(source), destination: end(destination) };
    let mut out = Vec::new();
    match version {
        1 => write_v1(Some(ends), &mut out),
        _ => write_v2(Some(ends), &mut out),
    }
    (out, ends)
}

#[test]
fn a_proxy_before_us_is_believed_and_the_endpoint_is_told() {
    for (come, go) in [(1, "v1"), (1, "v2"), (2, "v1"), (2, "v2")] {
        check_few_seeds("heads, proxied", Faults::CALM, |world| {
            let (address, heard) = endpoint(world);
            let service = format!(
                "to = \"c0\"\nproxy_protocol.from = \"10.0.0.0/8\"\n\
                 send_proxy_protocol = \"{go}\""
            );
            let proxy = Proxy::serve(world, &config(&[&address], &service));
            let client = world.node("client", Limits::AMPLE);
            let (head, ends) = header(come, "192.0.2.7:1234");
            let pieces = 1 + world.rng().below(head.len() as u32) as usize;
            let text = [&head[..], b"and what is behind it"].concat();
            let fate = ask(&client, &proxy.front, &text, pieces, true);
            assert_eq!(settled(world, &[&fate]), [Ok(b"hi".to_vec())]);
            assert!(world.run_until(PATIENCE, || heard.borrow().len() == 1));
            let heard = heard.borrow();
            let Ok(Parsed::Complete(told)) = parse(&heard[0]) else { panic!("{heard:?}") };
            assert_eq!(told.addresses, Some(ends));
            assert_eq!(&heard[0][told.bytes..], b"and what is behind it");
            assert_eq!(proxy.failures(), []);
            proxy.end(world);
        });
    }
}

#[test]
fn who_is_not_named_in_the_config_speaks_for_itself() {
    check_few_seeds("heads, strangers", Faults::CALM, |world| {
        let (address, heard) = endpoint(world);
        let service = "to = \"c0\"\nproxy_protocol.from = \"172.16.0.0/12\"\n\
                       send_proxy_protocol = \"v1\"";
        let proxy = Proxy::serve(world, &config(&[&address], service));
        let client = world.node("client", Limits::AMPLE);
        let (head, _) = header(1, "192.0.2.7:1234");
        let fate = ask(&client, &proxy.front, &head, 1, true);
        settled(world, &[&fate]);
        assert!(world.run_until(PATIENCE, || heard.borrow().len() == 1));
        // Its own address in front of what it claimed.
        let heard = heard.borrow();
        let Ok(Parsed::Complete(told)) = parse(&heard[0]) else { panic!("{heard:?}") };
        let source = told.addresses.expect("both have addresses").source;
        assert_eq!(Some(source.ip()), client.address(1).ip());
        assert_eq!(heard[0][told.bytes..], head);
        proxy.end(world);
    });
}

#[test]
fn what_is_no_header_ends_the_connection() {
    check_few_seeds("heads, none", Faults::CALM, |world| {
        let (address, heard) = endpoint(world);
        let service = "to = \"c0\"\nproxy_protocol = { from = \"10.0.0.0/8\", timeout = \"3s\" }";
        let proxy = Proxy::serve(world, &config(&[&address], service));
        let client = world.node("client", Limits::AMPLE);
        let (head, _) = header(1, "192.0.2.7:1234");
        let wrong = ask(&client, &proxy.front, b"GET / HTTP/1.1\r\n\r\n", 3, false);
        let short = ask(&client, &proxy.front, &head[..20], 2, true);
        let slow = ask(&client, &proxy.front, &head[..20], 2, false);
        let silent = ask(&client, &proxy.front, b"", 1, false);
        settled(world, &[&wrong, &short, &slow, &silent]);
        assert_eq!(
            proxy.failures(),
            [(Cause::ProxyHeaderInvalid, 2), (Cause::ProxyHeaderTimeout, 2)]
        );
        assert!(heard.borrow().is_empty());
        proxy.end(world);
    });
}

#[test]
fn connections_are_counted_under_the_source_that_is_named() {
    check_few_seeds("heads, sources", Faults::NONE, |world| {
        let (address, _) = endpoint(world);
        let service = "to = \"c0\"\nproxy_protocol.from = \"10.0.0.0/8\"\n\
                       limits.connections_per_source = 2\ntimeouts.idle = \"10s\"";
        let proxy = Proxy::serve(world, &config(&[&address], service));
        let client = world.node("client", Limits::AMPLE);
        let from = |source: &str| ask(&client, &proxy.front, &header(2, source).0, 1, false);
        let mut fates = Vec::new();
        for source in ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "192.0.2.1:3", "192.0.2.2:2"] {
            fates.push(from(source));
            world.after(SECOND / 10, |_| {});
            world.run(SECOND / 10);
        }
        let refused = Cause::SourceConnectionsMax;
        assert_eq!(proxy.failures(), [(refused, 1)]);
        settled(world, &fates.iter().collect::<Vec<_>>());
        assert_eq!(proxy.failures(), [(refused, 1), (Cause::TunnelIdle, 4)]);
        proxy.end(world);
    });
}

#[test]
fn a_listener_takes_its_peer_from_the_header_too() {
    check_few_seeds("heads, listener", Faults::CALM, |world| {
        let text = "[listener.web]\naddress = \"FRONT\"\nproxy_protocol.from = \"10.0.0.0/8\"\n\
                    limits.connections_per_source = 1\n\
                    [[listener.web.route]]\nrespond = { status = 200, body = \"ok\" }\n";
        let proxy = Proxy::serve(world, text);
        let client = world.node("client", Limits::AMPLE);
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let text = |source: &str| [&header(2, source).0[..], request].concat();
        let fates: Vec<_> = (1..4)
            .map(|host| {
                let pieces = 1 + world.rng().below(40) as usize;
                ask(&client, &proxy.front, &text(&format!("192.0.2.{host}:9")), pieces, false)
            })
            .collect();
        for answer in settled(world, &fates.iter().collect::<Vec<_>>()) {
            let answer = answer.expect("an orderly end");
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        }
        proxy.end(world);
    });
}

const ROUTES: &str = "timeouts.client_hello = \"3s\"\n\
                      [[service.s.route]]\nserver_name = \"b.example\"\nto = \"c1\"\n\
                      [[service.s.route]]\nserver_name = \"*.example\"\nto = \"c0\"\n";

/// The hello for another name of the same length.
fn hello_for(name: &str) -> Vec<u8> {
    let at = HELLO.windows(9).position(|window| window == b"a.example").expect("it has a name");
    let mut hello = HELLO.to_vec();
    hello[at..at + 9].copy_from_slice(name.as_bytes());
    hello
}

#[test]
fn a_hello_goes_where_its_name_leads_byte_for_byte() {
    check_few_seeds("heads, names", Faults::CALM, |world| {
        let ((first, heard_first), (second, heard_second)) = (endpoint(world), endpoint(world));
        let proxy = Proxy::serve(world, &config(&[&first, &second], ROUTES));
        let client = world.node("client", Limits::AMPLE);
        let mut fates = Vec::new();
        for name in ["a.example", "B.example", "c.example"] {
            let text = [&hello_for(name)[..], b"what comes behind"].concat();
            let pieces = 1 + world.rng().below(50) as usize;
            fates.push(ask(&client, &proxy.front, &text, pieces, true));
        }
        for answer in settled(world, &fates.iter().collect::<Vec<_>>()) {
            assert_eq!(answer, Ok(b"hi".to_vec()));
        }
        let all = || heard_first.borrow().len() == 2 && heard_second.borrow().len() == 1;
        assert!(world.run_until(PATIENCE, all));
        let expected = [&hello_for("B.example")[..], b"what comes behind"].concat();
        assert_eq!(heard_second.borrow()[0], expected);
        let sent = 3 * (HELLO.len() as u64 + 17);
        assert_eq!(proxy.service_bytes(), (sent, 6));
        assert_eq!(proxy.failures(), []);
        proxy.end(world);
    });
}

#[test]
fn who_asks_for_nobody_or_says_no_hello_is_refused_with_a_cause() {
    check_few_seeds("heads, no names", Faults::CALM, |world| {
        let (first, heard) = endpoint(world);
        let proxy = Proxy::serve(world, &config(&[&first, &first], ROUTES));
        let client = world.node("client", Limits::AMPLE);
        let unknown = ask(&client, &proxy.front, &hello_for("a.elsewhe"), 5, false);
        let plain = ask(&client, &proxy.front, b"GET / HTTP/1.1\r\n\r\n", 1, false);
        let slow = ask(&client, &proxy.front, &HELLO[..40], 2, false);
        let gone = ask(&client, &proxy.front, &HELLO[..40], 2, true);
        let fates = settled(world, &[&unknown, &plain, &slow, &gone]);
        // RFC 8446 §6: a fatal alert, unrecognized_name.
        assert_eq!(fates[0], Ok(vec![21, 3, 3, 0, 2, 2, 112]));
        assert!(fates[1..].iter().all(Result::is_err), "resets: {fates:?}");
        let mut causes = [
            (Cause::NotTls, 1),
            (Cause::TlsTimeout, 1),
            (Cause::TlsGone, 1),
            (Cause::TlsUnknownName, 1),
        ];
        causes.sort_by_key(|(cause, _)| cause.index());
        assert_eq!(proxy.failures(), causes);
        assert!(heard.borrow().is_empty());
        proxy.end(world);
    });
}
