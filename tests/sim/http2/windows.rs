//! Windows that grow with the path and shrink again, and streams that become fewer under load.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use penstock_env::{Address, Env};
use penstock_proxy::Cause;
use penstock_tests::sim::{
    Faults, Limits, SimEnv, SimStream, World, check_few_seeds, check_heavy_seeds,
};

use super::client::{self, Io};
use super::exchanges::run;
use crate::http::plan::Pace;
use crate::http::wire::Wire;
use crate::proxy::{Proxy, config};

/// Paths that hold more than windows do at first.
const LONG: Faults = Faults {
    latency_max: Duration::from_millis(200),
    buffer_bytes: (16 << 20, 16 << 20),
    ..Faults::NONE
};
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// More than any window, so that room says what a window is.
const SEND_BUFFER: usize = 64 * MIB;

/// The room that a new stream has, and no more than `bytes`; none once it is reset.
async fn room(stream: &mut SendStream<Bytes>, bytes: usize) -> Option<usize> {
    stream.reserve_capacity(bytes);
    match stream.capacity() {
        0 => poll_fn(|context| stream.poll_capacity(context)).await?.ok(),
        room => Some(room),
    }
}

/// Sends `bytes` as there is room for them, and ends the stream; the most room that there was.
async fn send(stream: &mut SendStream<Bytes>, bytes: usize) -> usize {
    let (mut left, mut most) = (bytes, 0);
    while left > 0 {
        let Some(room) = room(stream, left).await else { break };
        most = most.max(room);
        left -= room;
        stream.send_data(Bytes::from(vec![0; room]), left == 0).expect("it is taken");
    }
    most
}

/// An origin of HTTP/2 that takes a body and gives one back of as many bytes as `x-bytes` says; the
/// most room that each of those had.
fn listen(env: &SimEnv, address: &Address, rooms: &Rc<RefCell<Vec<usize>>>) {
    let (own, rooms) = (env.clone(), rooms.clone());
    env.listen(address, move |stream| own.spawn(serve(own.clone(), stream, rooms.clone())));
}

async fn serve(env: SimEnv, stream: SimStream, rooms: Rc<RefCell<Vec<usize>>>) {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(16 << 20)
        .initial_connection_window_size(64 << 20)
        .max_send_buffer_size(SEND_BUFFER);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(Io(env.clone(), stream)).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let rooms = rooms.clone();
        env.spawn(async move {
            if let Some(room) = answer(request, respond).await {
                rooms.borrow_mut().push(room);
            }
        });
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Option<usize> {
    let (head, mut recv) = request.into_parts();
    while let Some(piece) = recv.data().await {
        recv.flow_control().release_capacity(piece.ok()?.len()).ok()?;
    }
    let bytes = head.headers.get("x-bytes")?.to_str().ok()?.parse().ok()?;
    let mut stream = respond.send_response(Response::new(()), false).ok()?;
    Some(send(&mut stream, bytes).await)
}

async fn connect(env: &SimEnv, front: &Address) -> SendRequest<Bytes> {
    let stream = Wire::connect(env, front).await.expect("the proxy listens");
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(16 << 20)
        .initial_connection_window_size(64 << 20)
        .max_send_buffer_size(SEND_BUFFER);
    let (sender, connection) =
        builder.handshake(Io(env.clone(), stream)).await.expect("HTTP/2 is spoken");
    env.spawn(async move {
        let _ = connection.await;
    });
    sender
}

/// Sends a body of `up` bytes and takes one of `down`; the most room that the first had.
async fn exchange(sender: &SendRequest<Bytes>, up: usize, down: usize) -> usize {
    let bytes = down.to_string();
    let asked = client::request("POST", "/", &[("x-bytes", &bytes)]);
    let (answer, mut stream) = client::send(sender, asked, false).await.expect("it is taken");
    let room = send(&mut stream, up).await;
    let answer = client::read(answer.await.expect("an answer")).await.expect("all of it");
    assert_eq!((answer.head.status.as_u16(), answer.body.len()), (200, down));
    room
}

/// One client, the proxy with more in its config, and an origin. Rooms that uploads had are what
/// `act` gives, those of downloads the origin's.
fn play<F: Future<Output = Vec<usize>> + 'static>(
    world: &World,
    (listener, runtime): (&str, &str),
    act: impl FnOnce(SimEnv, SendRequest<Bytes>) -> F + 'static,
) -> (Vec<usize>, Vec<usize>, u64) {
    let (origin, rooms) = (world.node("origin", Limits::AMPLE), Rc::default());
    let address = origin.address(8080);
    listen(&origin, &address, &rooms);
    let text = config(&[address], listener, runtime) + "protocol = \"h2\"\n";
    let proxy = Proxy::serve(world, &text);
    let env = world.node("client", Limits::AMPLE);
    let (own, front, left) = (env.clone(), proxy.front.clone(), Rc::new(Cell::new(1)));
    let (told, ups) = (left.clone(), Rc::new(RefCell::new(Vec::new())));
    let given = ups.clone();
    env.spawn(async move {
        let sender = connect(&own, &front).await;
        *given.borrow_mut() = act(own, sender).await;
        told.set(0);
    });
    let done = || left.get() == 0 || world.panicked().is_some();
    assert!(world.run_until(Duration::from_secs(3600), done), "{:#?}", world.leaks());
    let held = proxy.windows_held();
    run(world, proxy, &left);
    (ups.take(), rooms.take(), held)
}

#[test]
fn windows_grow_with_the_path_and_shrink_when_it_is_idle() {
    check_heavy_seeds("h2 windows", LONG, |world| {
        let (ups, downs, held) = play(world, ("", ""), |env, sender| async move {
            let small = exchange(&sender, 100, 100).await;
            let mut rooms = vec![small, exchange(&sender, 100 * KIB, 300 * KIB).await];
            rooms.push(exchange(&sender, 4 * MIB, 4 * MIB).await);
            // It has its room at once.
            rooms.push(exchange(&sender, MIB, MIB).await);
            Wire::sleep_on(&env, Duration::from_secs(30)).await;
            rooms.push(exchange(&sender, 100 * KIB, 300 * KIB).await);
            rooms
        });
        assert_eq!((ups[0], ups[1], ups[4]), (100, 64 * KIB, 64 * KIB), "{ups:?}");
        assert_eq!((downs[0], downs[1], downs[4]), (100, 256 * KIB, 256 * KIB), "{downs:?}");
        assert!(ups[3] >= 256 * KIB && ups[3] <= 2 * MIB, "{ups:?}");
        assert!(downs[3] >= 512 * KIB && downs[3] <= 2 * MIB, "{downs:?}");
        assert_eq!(held, 0);
    });
}

#[test]
fn windows_stay_within_what_is_allowed_to_them() {
    check_heavy_seeds("h2 windows held", LONG, |world| {
        let act = |_: SimEnv, sender: SendRequest<Bytes>| async move {
            vec![exchange(&sender, 3 * MIB, 100).await, exchange(&sender, MIB, 100).await]
        };
        // A listener's own measure.
        let (ups, _, held) = play(world, ("http2.window_max = \"256KiB\"\n", ""), act);
        assert!(ups[1] <= 128 * KIB && held == 0, "{ups:?}");
        // The shard's: within what the connection has from its beginning, a stream still has half.
        let none = "[runtime]\nhttp2 = { window_growth = \"0KiB\" }\n";
        let (ups, _, _) = play(world, ("", none), act);
        assert!(ups[1] <= 512 * KIB, "{ups:?}");
        // Of an endpoint a stream takes the least that a window may begin with.
        let down = |_: SimEnv, sender: SendRequest<Bytes>| async move {
            vec![exchange(&sender, 100, 300 * KIB).await, exchange(&sender, 100, MIB).await]
        };
        let (_, downs, _) = play(world, ("", none), down);
        assert_eq!(downs, [64 * KIB; 2]);
        let small = "http2 = { connection_window = \"64KiB\" }\n";
        let (ups, _, held) = play(world, (small, none), act);
        assert!(ups[1] == 64 * KIB && held > 0, "{ups:?}, {held} times held");
    });
}

/// Twelve of what a connection's window of 2 MiB would let eight of hold all of it.
#[test]
fn answers_that_nobody_reads_hold_up_no_others() {
    let faults = Faults { buffer_bytes: (64 << 10, 64 << 10), ..Faults::CALM };
    check_heavy_seeds("h2 windows, unread", faults, |world| {
        let (origin, env) = (world.node("origin", Limits::AMPLE), world.node("c", Limits::AMPLE));
        let (address, rooms) = (origin.address(8080), Rc::default());
        listen(&origin, &address, &rooms);
        let proxy = Proxy::serve(world, &(config(&[address], "", "") + "protocol = \"h2\"\n"));
        let (own, front, left) = (env.clone(), proxy.front.clone(), Rc::new(Cell::new(1)));
        let told = left.clone();
        env.spawn(async move {
            let mut unread = Vec::new();
            for _ in 0..12 {
                let stream = Wire::connect(&own, &front).await.expect("the proxy listens");
                let wire = Wire::new(own.clone(), stream);
                let request = b"GET / HTTP/1.1\r\nHost: sim.test\r\nX-Bytes: 4194304\r\n\r\n";
                wire.write(request, &Pace::QUICK).await.expect("the proxy reads");
                unread.push(wire);
            }
            Wire::sleep_on(&own, Duration::from_secs(5)).await;
            let (sender, begun) = (connect(&own, &front).await, own.now());
            exchange(&sender, 100, 300 * KIB).await;
            let took = own.now().since(begun);
            assert!(took < Duration::from_secs(20), "{took:?}");
            told.set(0);
        });
        run(world, proxy, &left);
    });
}

/// RFC 9113 §8.7: refused before anything was done; the next connection is told of fewer.
#[test]
fn streams_are_refused_and_become_fewer_as_the_shard_fills_up() {
    check_few_seeds("h2 shard's streams", Faults::CALM, |world| {
        let client = world.node("client", Limits::AMPLE);
        let (origin, silent) = (client.address(9), Rc::new(RefCell::new(Vec::new())));
        let accepted = silent.clone();
        client.listen(&origin, move |stream| accepted.borrow_mut().push(stream));
        let runtime = "[runtime]\nhttp2 = { streams = 8 }\n";
        let proxy = Proxy::serve(world, &config(&[origin], "http2.streams = 20\n", runtime));
        let (own, front, left) = (client.clone(), proxy.front.clone(), Rc::new(Cell::new(1)));
        let (told, held) = (left.clone(), silent.clone());
        client.spawn(async move {
            let (mut senders, mut answers, mut allowed) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..4 {
                let (sender, _) = client::connect(&own, &front).await;
                Wire::sleep_on(&own, Duration::from_secs(1)).await;
                allowed.push(sender.current_max_send_streams());
                for _ in 0..3 {
                    let sent = client::send(&sender, client::request("GET", "/", &[]), true).await;
                    answers.push(sent);
                }
                Wire::sleep_on(&own, Duration::from_secs(1)).await;
                senders.push(sender);
            }
            assert_eq!(allowed, [20, 20, 10, 2]);
            let late = answers.split_off(8);
            for sent in late {
                // The last connection may not even send its third.
                let Ok((answer, _)) = sent else { continue };
                let error = answer.await.expect_err("it is refused");
                assert_eq!(error.reason(), Some(Reason::REFUSED_STREAM));
            }
            held.borrow_mut().clear();
            for sent in answers {
                let (answer, _) = sent.expect("it is taken");
                assert_eq!(answer.await.expect("an answer").status(), 502);
            }
            told.set(0);
        });
        let done = || left.get() == 0 || world.panicked().is_some();
        assert!(world.run_until(Duration::from_secs(600), done), "{:#?}", world.leaks());
        let failures = proxy.failures();
        let refused = failures.iter().find(|(cause, _)| *cause == Cause::StreamsMax);
        assert!(refused.is_some_and(|&(_, count)| count == 4), "{failures:?}");
        silent.borrow_mut().clear();
        run(world, proxy, &left);
    });
}
