//! gRPC calls that filters make: requests have the outcome that the call's answer gives them, and
//! nothing of a call is left when nobody wants it any more.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use penstock_env::{Address, Env};
use penstock_tests::sim::{Faults, Limits, Path, SimEnv, SimStream, World, check_few_seeds};

use super::client::Io;
use crate::http::plan::{Framing, Pace};
use crate::http::wire::{Expected, Wire};
use crate::proxy::{Proxy, config};

const SECOND: Duration = Duration::from_secs(1);

/// What the endpoint that filters call does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conduct {
    /// Answers each message with one that begins with this letter.
    Say(u8),
    /// Refuses the first stream, and says `y` on others.
    Refuse,
    /// Ends with PERMISSION_DENIED, in the head alone.
    Deny,
    /// Says OK without a message.
    Nothing,
    /// Ends in the middle of a message.
    Cut,
    /// Announces a message that is larger than may be.
    Flood,
    /// Says something that is no gRPC.
    Http,
    /// Resets the stream.
    Reset,
    /// Says nothing.
    Mute,
    /// A message each second, for ever.
    Pulse,
}

/// What was seen of calls over there.
#[derive(Default)]
struct Seen {
    calls: Cell<u32>,
    messages: Cell<u32>,
    /// Calls that were given up by who made them.
    resets: Cell<u32>,
}

/// An endpoint for calls.
fn serve_calls(world: &World, conduct: Conduct) -> (Address, Rc<Seen>) {
    let (env, seen) = (world.node("auth", Limits::AMPLE), Rc::new(Seen::default()));
    let (own, told, address) = (env.clone(), seen.clone(), env.address(8081));
    let refuses = Rc::new(Cell::new(conduct == Conduct::Refuse));
    env.listen(&address, move |stream| {
        own.spawn(connection(own.clone(), stream, conduct, refuses.clone(), told.clone()));
    });
    (address, seen)
}

async fn connection(
    env: SimEnv,
    stream: SimStream,
    conduct: Conduct,
    refuses: Rc<Cell<bool>>,
    seen: Rc<Seen>,
) {
    let mut builder = h2::server::Builder::new();
    // `h2` measures this by the real clock: no pause of the machine's shall come into a run.
    builder.reset_stream_duration(Duration::from_secs(3_600));
    let Ok(mut connection) = builder.handshake::<_, Bytes>(Io(env.clone(), stream)).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        if refuses.take() {
            respond.send_reset(Reason::REFUSED_STREAM);
            continue;
        }
        let (own, seen) = (env.clone(), seen.clone());
        env.spawn(async move {
            seen.calls.set(seen.calls.get() + 1);
            if answer(own, request, respond, conduct, &seen).await.is_err() {
                seen.resets.set(seen.resets.get() + 1);
            }
        });
    }
}

async fn answer(
    env: SimEnv,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    conduct: Conduct,
    seen: &Seen,
) -> Result<(), h2::Error> {
    let head = |kind: &str, status: &str| {
        let mut response = Response::builder().header("content-type", kind);
        if !status.is_empty() {
            response = response.header("grpc-status", status).header("grpc-message", "not%20you");
        }
        response.body(()).expect("a head")
    };
    let (grpc, ends) = ("application/grpc", |status| {
        let name = http::HeaderName::from_static("grpc-status");
        HeaderMap::from_iter([(name, http::HeaderValue::from_static(status))])
    });
    assert_eq!(request.headers()["content-type"], grpc);
    assert_eq!(request.headers()["te"], "trailers");
    let unary = request.headers().contains_key("grpc-timeout");
    let mut body = request.into_body();
    match conduct {
        Conduct::Say(_) | Conduct::Refuse => {
            let letter = if let Conduct::Say(letter) = conduct { letter } else { b'y' };
            let mut stream = respond.send_response(head(grpc, ""), false)?;
            while let Some(piece) = body.data().await {
                let piece = piece?;
                body.flow_control().release_capacity(piece.len())?;
                // What filters of the simulated world say; a piece is never cut that small.
                for _ in piece.windows(8).filter(|bytes| bytes == b"\0\0\0\0\x03yes") {
                    seen.messages.set(seen.messages.get() + 1);
                    stream.send_data(vec![0, 0, 0, 0, 2, letter, b'!'].into(), false)?;
                }
            }
            stream.send_trailers(ends("0"))
        }
        Conduct::Deny => respond.send_response(head(grpc, "7"), true).map(drop),
        Conduct::Nothing => respond.send_response(head(grpc, ""), false)?.send_trailers(ends("0")),
        Conduct::Cut => {
            let mut stream = respond.send_response(head(grpc, ""), false)?;
            stream.send_data(vec![0, 0, 0, 0, 9, b'y'].into(), false)?;
            stream.send_trailers(ends("0"))
        }
        Conduct::Flood => {
            let mut stream = respond.send_response(head(grpc, ""), false)?;
            stream.send_data(vec![0, 0xff, 0xff, 0xff, 0xff, b'y'].into(), false)?;
            std::future::poll_fn(|context| stream.poll_reset(context)).await.map(drop)
        }
        Conduct::Http => {
            let mut stream = respond.send_response(head("text/plain", ""), false)?;
            stream.send_data("yes".into(), true)
        }
        Conduct::Reset => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        Conduct::Mute => {
            assert!(unary, "no stream is asked of it");
            std::future::poll_fn(|context| respond.poll_reset(context)).await.map(drop)
        }
        Conduct::Pulse => {
            let mut stream = respond.send_response(head(grpc, ""), false)?;
            loop {
                Wire::sleep_on(&env, SECOND).await;
                stream.send_data(vec![0; 5].into(), false)?;
            }
        }
    }
}

/// An origin that answers whatever it is asked.
fn origin(world: &World) -> Address {
    let env = world.node("origin", Limits::AMPLE);
    let (own, address) = (env.clone(), env.address(8080));
    env.listen(&address, move |stream| {
        let wire = Wire::new(own.clone(), stream);
        own.spawn(async move {
            while let Ok(Some(head)) = wire.head().await {
                let mut body = Expected::anything("origin");
                let read = wire.body(head.framing(Framing::None), &mut body, &Pace::QUICK).await;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                if read.is_err() || wire.write(answer, &Pace::QUICK).await.is_err() {
                    return;
                }
            }
        });
    });
    address
}

/// Asks with each mark, all at a time on connections of their own; the statuses, 0 where there was
/// none, and the value of `x-count`.
fn ask(world: &World, proxy: &Proxy, marks: &[&'static str]) -> Vec<(u16, Option<String>)> {
    let (env, front) = (world.node("client", Limits::AMPLE), proxy.front.clone());
    let answers = Rc::new(RefCell::new(vec![None; marks.len()]));
    for (index, &mark) in marks.iter().enumerate() {
        let (own, front, answers) = (env.clone(), front.clone(), answers.clone());
        env.spawn(async move {
            let answer = ask_one(own, &front, mark).await.unwrap_or_default();
            answers.borrow_mut()[index] = Some(answer);
        });
    }
    let done = || answers.borrow().iter().all(Option::is_some) || world.panicked().is_some();
    assert!(world.run_until(600 * SECOND, done), "{:#?}", world.leaks());
    assert_eq!(world.panicked(), None);
    answers.take().into_iter().flatten().collect()
}

async fn ask_one(env: SimEnv, front: &Address, mark: &str) -> Option<(u16, Option<String>)> {
    let wire = Wire::new(env.clone(), Wire::connect(&env, front).await?);
    let request =
        format!("GET /a HTTP/1.1\r\nHost: sim.test\r\nConnection: close\r\nX-Mark: {mark}\r\n\r\n");
    wire.write(request.as_bytes(), &Pace::QUICK).await.ok()?;
    let head = wire.head().await.ok()??;
    let status = head.line.split(' ').nth(1)?.parse().ok()?;
    Some((status, head.field("x-count").map(str::to_owned)))
}

fn text(origin: &Address, auth: &Address, filter: &str, listener: &str) -> String {
    let auth = format!("[cluster.auth]\nprotocol = \"h2\"\nendpoints = [\"{auth}\"]\n");
    let block = format!(
        "[filter.calls]\nwasm = \"/{filter}.wasm\"\ngrpc_calls = [\"auth\"]\n\
         grpc_message_max = \"64KiB\"\n"
    );
    config(std::slice::from_ref(origin), listener, &(auth + &block))
}

const CHAIN: &str = "filters = [\"calls\"]\n";

/// What requests get whose filter calls by `u`, a call, and by `s`, a stream.
fn check(name: &str, conduct: Conduct, expected: [u16; 2]) {
    check_few_seeds(name, Faults::CALM, |world| {
        let (auth, seen) = serve_calls(world, conduct);
        let proxy = Proxy::serve(world, &text(&origin(world), &auth, "grpc", CHAIN));
        let unary = ask(world, &proxy, &["u", "u", "plain", "u"]);
        let of = |answers: &[(u16, Option<String>)]| -> Vec<u16> {
            answers.iter().map(|(status, _)| *status).collect()
        };
        assert_eq!(of(&unary), [expected[0], expected[0], 200, expected[0]], "{conduct:?}");
        if expected[1] > 0 {
            assert_eq!(of(&ask(world, &proxy, &["s", "s"])), [expected[1]; 2], "{conduct:?}");
        }
        // Given up as soon as it was made: the request goes on, and nothing of it is left.
        assert_eq!(of(&ask(world, &proxy, &["x", "x"])), [200; 2]);
        if conduct == Conduct::Say(b'y') {
            // One message of each call, and two of each stream.
            assert_eq!(seen.messages.get(), 3 + 2 * 2);
        }
        proxy.end(world);
    });
}

#[test]
fn the_answer_to_a_call_decides_over_the_request() {
    check("grpc calls, yes", Conduct::Say(b'y'), [200, 200]);
    check("grpc calls, no", Conduct::Say(b'n'), [403, 403]);
}

#[test]
fn a_call_that_fails_is_told_so() {
    check("grpc calls, denied", Conduct::Deny, [403, 403]);
    // A stream may end well without a message.
    check("grpc calls, nothing", Conduct::Nothing, [403, 200]);
    check("grpc calls, cut", Conduct::Cut, [403, 403]);
    check("grpc calls, flood", Conduct::Flood, [403, 403]);
    check("grpc calls, http", Conduct::Http, [403, 403]);
    check("grpc calls, reset", Conduct::Reset, [403, 403]);
    check("grpc calls, mute", Conduct::Mute, [403, 0]);
}

#[test]
fn a_call_that_was_refused_is_asked_of_another_endpoint() {
    check_few_seeds("grpc calls, refused", Faults::CALM, |world| {
        let ((first, _), (second, _)) =
            (serve_calls(world, Conduct::Refuse), serve_calls(world, Conduct::Refuse));
        let both = text(&origin(world), &first, "grpc", CHAIN)
            .replace(&format!("[\"{first}\"]"), &format!("[\"{first}\", \"{second}\"]"));
        let proxy = Proxy::serve(world, &both);
        // Two refusals, one by each: two requests can't meet both.
        let answers = ask(world, &proxy, &["u"; 4]);
        assert!(answers.iter().filter(|(status, _)| *status == 200).count() >= 3, "{answers:?}");
        proxy.end(world);
    });
}

#[test]
fn nobody_there_is_an_answer_too() {
    check_few_seeds("grpc calls, nobody", Faults::CALM, |world| {
        let (auth, _) = serve_calls(world, Conduct::Say(b'y'));
        let proxy = Proxy::serve(world, &text(&origin(world), &auth, "grpc", CHAIN));
        world.set_path(&auth, Path::Refused);
        let answers = ask(world, &proxy, &["u", "s", "x", "plain"]);
        let statuses: Vec<_> = answers.into_iter().map(|(status, _)| status).collect();
        assert_eq!(statuses, [403, 403, 200, 200]);
        proxy.end(world);
    });
}

#[test]
fn calls_stand_a_network_that_breaks_connections() {
    check_few_seeds("grpc calls, rough", Faults::ROUGH, |world| {
        let conducts = [Conduct::Say(b'y'), Conduct::Deny, Conduct::Reset, Conduct::Cut];
        let (auth, _) = serve_calls(world, conducts[world.rng().below(4) as usize]);
        let text = text(&origin(world), &auth, "grpc", CHAIN);
        let proxy = Proxy::serve(world, &text);
        for _ in 0..4 {
            for (status, _) in ask(world, &proxy, &["u", "s", "x", "plain", "s", "u"]) {
                assert!([0, 200, 403, 502, 503, 504].contains(&status), "{status}");
            }
            proxy.reload();
        }
        proxy.end(world);
    });
}

#[test]
fn a_stream_of_the_filter_itself_lasts_as_long_as_the_filter() {
    check_few_seeds("grpc calls, watch", Faults::CALM, |world| {
        let ((auth, seen), origin) = (serve_calls(world, Conduct::Pulse), origin(world));
        let texts = [text(&origin, &auth, "watch", CHAIN), text(&origin, &auth, "grpc", "")];
        let proxy = Proxy::serve_in_turn(world, &texts);
        let count = |letter: &str| vec![(200, Some(letter.to_owned()))];
        let pass = |time: Duration| {
            world.after(time, |_| {});
            world.run(time);
        };
        pass(SECOND / 2);
        assert_eq!(ask(world, &proxy, &["plain"]), count("0"));
        pass(5 * SECOND);
        // A tick after a second, then one message each.
        assert_eq!(ask(world, &proxy, &["plain"]), count("4"));
        assert_eq!((seen.calls.get(), seen.resets.get()), (1, 0));
        // With the filter goes its stream; and with it comes another one.
        proxy.reload();
        pass(5 * SECOND);
        assert_eq!((seen.calls.get(), seen.resets.get()), (1, 1));
        proxy.reload();
        pass(5 * SECOND / 2);
        assert_eq!(ask(world, &proxy, &["plain"]), count("1"));
        assert_eq!((seen.calls.get(), seen.resets.get()), (2, 1));
        proxy.reload();
        pass(3 * SECOND);
        assert_eq!((seen.calls.get(), seen.resets.get()), (2, 2));
        proxy.end(world);
    });
}
