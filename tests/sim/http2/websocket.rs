//! WebSockets through the proxy: over HTTP/1.1 and HTTP/2, to either; what ends them, and how.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, Env, Rng};
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, SimEnv, World, check_few_seeds, check_some_seeds};

use super::exchanges::run;
use super::peer::{
    self, CLOSE, Frame, Log, PING, PONG, Quirk, Socket, TEXT, frame, open_http1, open_http2,
};
use crate::http::wire::Wire;
use crate::proxy::{Proxy, config};

/// What downstream and endpoint speak.
#[derive(Clone, Copy, Debug)]
struct Pair {
    down_http2: bool,
    up_http2: bool,
}

const PAIRS: [Pair; 4] = [
    Pair { down_http2: false, up_http2: false },
    Pair { down_http2: true, up_http2: false },
    Pair { down_http2: false, up_http2: true },
    Pair { down_http2: true, up_http2: true },
];

/// The proxy in front of an origin, with what the origin logs.
fn set(world: &World, pair: Pair, quirk: Quirk, route: &str) -> (Proxy, Rc<Log>) {
    let env = world.node("origin", Limits::AMPLE);
    let (address, log) = (env.address(8080), Rc::new(Log::default()));
    let listen = if pair.up_http2 { peer::listen_http2 } else { peer::listen_http1 };
    listen(&env, &address, quirk, &log);
    let upgrade = format!("upgrade = \"websocket\"\n{route}");
    let mut text = config(&[address], "", "").replace("upgrade = \"sim-echo\"\n", &upgrade);
    if pair.up_http2 {
        text += "protocol = \"h2\"\n";
    }
    (Proxy::serve(world, &text), log)
}

async fn open(env: &SimEnv, front: &Address, pair: Pair) -> Socket {
    match pair.down_http2 {
        true => open_http2(env, front, "websocket").await.map_err(|head| format!("{head:?}")),
        false => open_http1(env, front).await.map_err(|head| format!("{head:?}")),
    }
    .unwrap_or_else(|answer| panic!("{pair:?}: {answer}"))
}

/// Runs `client` beside the proxy until it is done, and then whatever it does after that.
fn play<F: Future<Output = ()> + 'static>(
    world: &World,
    proxy: Proxy,
    client: impl FnOnce(SimEnv, Address, Rc<Cell<u32>>) -> F,
) {
    let (env, left) = (world.node("client", Limits::AMPLE), Rc::new(Cell::new(1)));
    env.spawn(client(env.clone(), proxy.front.clone(), left.clone()));
    run(world, proxy, &left);
}

fn mask(rng: &mut Rng) -> Option<[u8; 4]> {
    Some(rng.below(u32::MAX).to_le_bytes())
}

/// Closes as a client does, and reads to the end.
async fn close(socket: &mut Socket, status: u16) {
    let said = status.to_be_bytes();
    assert!(socket.send(&frame(0x80 | CLOSE, &said, Some([1, 2, 3, 4]))).await);
    let answer = socket.frame().await;
    assert_eq!(answer, Some(Frame { first: 0x80 | CLOSE, payload: said.to_vec() }));
    socket.finish();
    assert_eq!(socket.frame().await, None);
}

#[test]
fn frames_go_through_untouched_whatever_both_sides_speak() {
    for pair in PAIRS {
        check_some_seeds(&format!("websocket {pair:?}"), Faults::CALM, |world| {
            let (proxy, log) = set(world, pair, Quirk::None, "");
            let mut rng = Rng::new(world.seed());
            play(world, proxy, |env, front, left| async move {
                let mut socket = open(&env, &front, pair).await;
                for _ in 0..1 + rng.below(12) {
                    let length = [10, 200, 70_000][rng.below(3) as usize];
                    let length = rng.below(length) as usize;
                    let payload: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
                    // Fragments, bits of extensions, pings between.
                    let first = [0x81, 0x82, 0x01, 0x80, 0xc1, 0x89][rng.below(6) as usize];
                    let payload = &payload[..if first == 0x89 { length % 126 } else { length }];
                    assert!(socket.send(&frame(first, payload, mask(&mut rng))).await);
                    let expected = if first == 0x89 { 0x80 | PONG } else { first };
                    let echo = socket.frame().await;
                    assert_eq!(echo, Some(Frame { first: expected, payload: payload.to_vec() }));
                }
                close(&mut socket, 1000 + rng.below(4) as u16).await;
                left.set(0);
            });
            assert_eq!((log.opened.get(), log.ended.get()), (1, 1));
        });
    }
}

#[test]
fn a_drain_says_goodbye_to_both_sides_where_a_frame_ends() {
    for pair in PAIRS {
        check_few_seeds(&format!("websocket drain {pair:?}"), Faults::CALM, |world| {
            let (proxy, log) = set(world, pair, Quirk::None, "");
            let ended = Rc::new(Cell::new(false));
            let told = ended.clone();
            let mut rng = Rng::new(world.seed());
            play(world, proxy, |env, front, left| async move {
                let mut socket = open(&env, &front, pair).await;
                let whole = frame(0x81, &[b'x'; 3_000], mask(&mut rng));
                let half = rng.below(whole.len() as u32) as usize;
                assert!(socket.send(&whole[..half]).await);
                Wire::sleep_on(&env, Duration::from_secs(1)).await;
                left.set(0);
                Wire::sleep_on(&env, Duration::from_secs(3)).await;
                // What comes down is between frames: we are told at once.
                let goodbye = Frame { first: 0x80 | CLOSE, payload: vec![0x03, 0xe9] };
                assert_eq!(socket.frame().await, Some(goodbye.clone()));
                // What went up is not, as long as half of it is missing.
                assert!(socket.send(&whole[half..]).await || half == 0);
                assert!(socket.send(&frame(0x88, &goodbye.payload, mask(&mut rng))).await);
                socket.finish();
                assert_eq!(socket.frame().await, None);
                told.set(true);
            });
            assert!(ended.get());
            let closes = vec![Frame { first: 0x80 | CLOSE, payload: vec![0x03, 0xe9] }];
            assert_eq!(*log.heard.borrow(), closes);
            assert_eq!(log.ended.get(), 1);
        });
    }
}

/// Who answers no goodbye is left all the same.
#[test]
fn a_drain_waits_a_while_for_the_answer_to_its_goodbye() {
    check_few_seeds("websocket rude", Faults::CALM, |world| {
        let (proxy, log) = set(world, PAIRS[0], Quirk::None, "");
        play(world, proxy, |env, front, left| async move {
            let mut socket = open(&env, &front, PAIRS[0]).await;
            left.set(0);
            assert_eq!(socket.frame().await.map(|frame| frame.opcode()), Some(CLOSE));
            let told = env.now();
            while socket.send(&frame(0x89, b"", Some([9; 4]))).await {
                Wire::sleep_on(&env, Duration::from_millis(500)).await;
            }
            let took = env.now().since(told);
            assert!((4..8).contains(&took.as_secs()), "{took:?}");
        });
        assert_eq!(log.ended.get(), 1);
    });
}

#[test]
fn who_is_silent_is_pinged_and_given_up_without_an_answer() {
    for pair in PAIRS {
        check_few_seeds(&format!("websocket ping {pair:?}"), Faults::CALM, |world| {
            let (proxy, log) = set(world, pair, Quirk::None, "websocket = { ping = \"2s\" }\n");
            let causes = Rc::new(RefCell::new(Vec::new()));
            let proxy = Rc::new(RefCell::new(Some(proxy)));
            let (ask, told) = (proxy.clone(), causes.clone());
            let (env, left) = (world.node("client", Limits::AMPLE), Rc::new(Cell::new(1)));
            let front = proxy.borrow().as_ref().expect("it serves").front.clone();
            let (own, done) = (env.clone(), left.clone());
            env.spawn(async move {
                let (mut socket, mut pings) = (open(&own, &front, pair).await, 0);
                let begun = own.now();
                while own.now().since(begun) < Duration::from_secs(20) {
                    let came = socket.frame().await.expect("it goes on");
                    match came.opcode() {
                        PING => {
                            pings += 1;
                            let pong = frame(0x80 | PONG, &came.payload, Some([9; 4]));
                            assert!(socket.send(&pong).await);
                        }
                        // The origin's, to a ping of its own.
                        other => assert_eq!(other, PONG),
                    }
                }
                assert!(pings >= 8, "{pings}");
                let silent = own.now();
                while socket.frame().await.is_some() {}
                let took = own.now().since(silent);
                assert!((2..8).contains(&took.as_secs()), "{took:?}");
                Wire::sleep_on(&own, Duration::from_secs(1)).await;
                *told.borrow_mut() = ask.borrow().as_ref().expect("it serves").failures();
                done.set(0);
            });
            assert!(world.run_until(Duration::from_secs(600), || left.get() == 0));
            run(world, proxy.take().expect("it serves"), &left);
            assert_eq!(*causes.borrow(), [(Cause::PingUnanswered, 1)]);
            let pongs = log.heard.borrow().iter().filter(|frame| frame.opcode() == PONG).count();
            assert!(pongs >= 8, "they go on to the origin: {pongs}");
        });
    }
}

/// An answer to a ping is no traffic.
#[test]
fn a_silent_websocket_is_told_goodbye_even_if_it_answers_pings() {
    check_few_seeds("websocket idle", Faults::CALM, |world| {
        let route = "websocket = { idle = \"10s\", ping = \"2s\" }\n";
        let (proxy, log) = set(world, PAIRS[1], Quirk::None, route);
        play(world, proxy, |env, front, left| async move {
            let mut socket = open(&env, &front, PAIRS[1]).await;
            let begun = env.now();
            assert!(socket.send(&frame(0x80 | TEXT, b"hello", Some([7; 4]))).await);
            assert_eq!(socket.frame().await.map(|frame| frame.opcode()), Some(TEXT));
            loop {
                let came = socket.frame().await.expect("a goodbye");
                match came.opcode() {
                    PING => assert!(socket.send(&frame(0x8a, b"", Some([9; 4]))).await),
                    PONG => {}
                    other => break assert_eq!(other, CLOSE),
                }
            }
            let took = env.now().since(begun);
            assert!((9..13).contains(&took.as_secs()), "{took:?}");
            assert!(socket.send(&frame(0x88, &[0x03, 0xe9], Some([9; 4]))).await);
            socket.finish();
            assert_eq!(socket.frame().await, None);
            left.set(0);
        });
        assert_eq!(log.ended.get(), 1);
    });
}

/// The status that asking over HTTP/2 is answered with, and its cause.
#[track_caller]
fn check_refused(pair: Pair, quirk: Quirk, protocol: &'static str, route: &str, told: (u16, &str)) {
    check_few_seeds("websocket refused", Faults::CALM, |world| {
        let (proxy, _) = set(world, pair, quirk, route);
        let (status, cause) = (told.0, told.1.to_owned());
        play(world, proxy, |env, front, left| async move {
            let answer = open_http2(&env, &front, protocol).await;
            let head = answer.err().expect("no tunnel");
            let got = head.headers.get("x-penstock-cause").and_then(|value| value.to_str().ok());
            assert_eq!((head.status.as_u16(), got), (status, Some(&*cause)));
            left.set(0);
        });
    });
}

#[test]
fn what_is_no_tunnel_is_never_taken_for_one() {
    let (to_http1, to_http2) = (PAIRS[1], PAIRS[3]);
    // RFC 9220 §3.
    check_refused(to_http1, Quirk::None, "connect-udp", "", (501, "tunnel_refused"));
    // RFC 8441 §5: any 2xx would be a yes.
    check_refused(to_http1, Quirk::Ignores, "websocket", "", (502, "upstream_bad_upgrade"));
    // RFC 6455 §4.1.
    check_refused(to_http1, Quirk::AcceptsWrongly, "websocket", "", (502, "upstream_bad_upgrade"));
    // RFC 8441 §3.
    check_refused(to_http2, Quirk::SaysNothing, "websocket", "", (502, "upstream_no_websocket"));
}

#[test]
fn a_route_without_upgrades_or_with_an_answer_of_its_own_gives_no_tunnel() {
    let answers = [
        ("upgrade = []\nto = \"app\"", 501, "tunnel_refused"),
        ("respond = { status = 200, body = \"hello\" }", 501, "tunnel_refused"),
        ("respond = { status = 204 }", 501, "tunnel_refused"),
        ("respond = { status = 403 }", 403, "route_responds"),
    ];
    for (route, status, cause) in answers {
        check_few_seeds("websocket route", Faults::CALM, |world| {
            let env = world.node("origin", Limits::AMPLE);
            let text = format!(
                "[observe]\ncause_header = true\n[listener.web]\naddress = \"FRONT\"\n\
                 [[listener.web.route]]\n{route}\n[cluster.app]\nendpoints = [\"{}\"]\n",
                env.address(8080)
            );
            let (proxy, cause) = (Proxy::serve(world, &text), cause.to_owned());
            play(world, proxy, |env, front, left| async move {
                let head = open_http2(&env, &front, "websocket").await.err().expect("no tunnel");
                let got =
                    head.headers.get("x-penstock-cause").and_then(|value| value.to_str().ok());
                assert_eq!((head.status.as_u16(), got.unwrap_or_default()), (status, &*cause));
                left.set(0);
            });
        });
    }
}
