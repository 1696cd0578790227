//! Any frames at all: whatever a peer makes of HTTP/2, the connection ends or goes on, nobody
//! panics, nothing is left behind, and who asks beside it is answered.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Env, Rng};
use penstock_tests::sim::{Faults, Limits, check_some_seeds};

use super::client;
use super::exchanges::run;
use super::raw::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, PRIORITY, SETTINGS,
    WINDOW_UPDATE, fields, frame, say,
};
use crate::http::origin::HOST;
use crate::http::plan::Pace;
use crate::http::wire::Wire;
use crate::proxy::{Proxy, config};

/// A head that is one, or nearly.
fn head(rng: &mut Rng) -> Vec<u8> {
    let method = ["GET", "POST", "HEAD", "CONNECT", "get"][rng.below(5) as usize];
    let mut list = vec![
        (":method", method),
        (":scheme", "http"),
        (":path", ["/", "*", "", "/a?b"][rng.below(4) as usize]),
        (":authority", [HOST, "elsewhere.test", "a b"][rng.below(3) as usize]),
        ("x-a", "1"),
    ];
    let odd = [
        (":protocol", "websocket"),
        (":protocol", "other"),
        ("content-length", "5"),
        ("te", "trailers"),
        ("connection", "close"),
        ("cookie", "a=b"),
        ("trailer", "x-end"),
        ("expect", "100-continue"),
        ("X-Upper", "1"),
    ];
    for _ in 0..rng.below(3) {
        let at = rng.below(list.len() as u32 + 1) as usize;
        list.insert(at, odd[rng.below(odd.len() as u32) as usize]);
    }
    if rng.below(4) == 0 {
        list.remove(rng.below(list.len() as u32) as usize);
    }
    fields(&list)
}

/// A frame that is one, or nearly.
fn any_frame(rng: &mut Rng) -> Vec<u8> {
    let kind = rng.below(12) as u8;
    let stream = [0, 1, 1, 3, 3, 5, 7, 2, 9][rng.below(9) as usize];
    let flags = [0, END_STREAM | ACK, END_HEADERS, END_HEADERS | END_STREAM, PADDED, 0x20, 0xff];
    let flags = flags[rng.below(7) as usize];
    let payload = match kind {
        HEADERS | CONTINUATION => {
            let mut block = head(rng);
            if rng.below(3) == 0 {
                block.truncate(rng.below(block.len() as u32 + 1) as usize);
            }
            block
        }
        DATA => vec![b'x'; [0, 1, 5, 1_000, 16_384][rng.below(5) as usize]],
        PRIORITY => vec![0; 5],
        SETTINGS => {
            let setting = [0, 1 + rng.below(8) as u8];
            [&setting[..], &rng.below(100_000).to_be_bytes()].concat()
        }
        WINDOW_UPDATE => [0, 1, 65_535, u32::MAX][rng.below(4) as usize].to_be_bytes().to_vec(),
        _ => (0..[0, 4, 8, 9][rng.below(4) as usize]).map(|_| rng.below(256) as u8).collect(),
    };
    let mut bytes = frame(kind, flags, stream, &payload);
    if rng.below(12) == 0 {
        let at = rng.below(bytes.len() as u32) as usize;
        bytes[at] ^= 1 << rng.below(8);
    }
    bytes
}

/// Answers one request for each connection, whatever it is.
async fn serve(wire: Wire) {
    if let Ok(Some(_)) = wire.head().await {
        let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
        let _ = wire.write(answer, &Pace::QUICK).await;
        wire.linger().await;
    }
}

#[test]
fn any_frames_end_a_connection_or_not_and_leave_nothing_behind() {
    check_some_seeds("h2 any frames", Faults::CALM, |world| {
        let origin = world.node("origin", Limits::AMPLE);
        let (address, own) = (origin.address(8080), origin.clone());
        origin.listen(&address, move |stream| own.spawn(serve(Wire::new(own.clone(), stream))));
        let listener = "timeouts = { request_head = \"2s\", body_stall = \"2s\" }\n";
        let proxy = Proxy::serve(world, &config(&[address], listener, ""));
        let env = world.node("client", Limits::AMPLE);
        let left = Rc::new(Cell::new(4));
        for number in 0..3 {
            let (own, front, left) = (env.clone(), proxy.front.clone(), left.clone());
            let mut rng = Rng::new(world.seed().wrapping_add(number));
            env.spawn(async move {
                let frames = 1 + rng.below(40);
                let bytes = (0..frames).flat_map(|_| any_frame(&mut rng)).collect();
                say(&own, &front, bytes, Duration::from_secs(4)).await;
                left.set(left.get() - 1);
            });
        }
        let (own, front, told) = (env.clone(), proxy.front.clone(), left.clone());
        env.spawn(async move {
            let (sender, _) = client::connect(&own, &front).await;
            let sent = client::send(&sender, client::request("GET", "/", &[]), true).await;
            let (answer, _) = sent.expect("it is taken");
            let answer = client::read(answer.await.expect("an answer")).await.expect("all of it");
            assert_eq!((answer.head.status.as_u16(), &answer.body[..]), (200, &b"hello"[..]));
            told.set(told.get() - 1);
        });
        run(world, proxy, &left);
    });
}
