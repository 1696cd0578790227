//! An origin: answers as the request's plan says, and goes wrong as it says.

use std::rc::Rc;

use penstock_env::{Address, CloseKind, Env, Stream, Timer, TimerExt};
use penstock_tests::sim::{SimEnv, SimStream};

use super::ledger::Ledger;
use super::plan::{Fault, Framing, Pace, Plan};
use super::wire::{Broken, Expected, Head, Wire};

/// The name that every client asks for.
pub(crate) const HOST: &str = "sim.test";

/// Serves `address` on the node of `env`.
pub(crate) fn listen(env: &SimEnv, address: &Address, ledger: &Rc<Ledger>, proxied: bool) {
    let (own, ledger) = (env.clone(), ledger.clone());
    env.listen(address, move |stream| {
        let (env, ledger) = (own.clone(), ledger.clone());
        own.spawn(serve(env, stream, ledger, proxied));
    });
}

/// What an exchange leaves behind.
enum Then {
    /// The next request may come; the plan says how long to wait.
    Keep,
    /// The connection ends.
    Close(CloseKind),
}

async fn serve(env: SimEnv, stream: SimStream, ledger: Rc<Ledger>, proxied: bool) {
    let wire = Wire::new(env, stream);
    let mut last: Option<Rc<Plan>> = None;
    loop {
        if let Some(wait) = last.and_then(|plan| plan.answer.idle_close) {
            let timer = wire.env.timer();
            timer.set(wire.env.now() + wait);
            if timer.race(wire.more()).await.is_none() {
                return;
            }
        }
        let Ok(Some(head)) = wire.head().await else { return };
        let id = head.id().expect("every request carries its id");
        wire.env.note("is asked", id);
        let (plan, before) = ledger.attempt(id);
        check_head(&head, &plan, proxied);
        match exchange(&wire, &head, &plan, before).await {
            Ok(Then::Keep) => last = Some(plan),
            Ok(Then::Close(CloseKind::Now)) => return wire.linger().await,
            Ok(Then::Close(kind)) => return wire.stream.close(kind),
            Err(_) => return,
        }
    }
}

/// What of a request must have come through unchanged, and what must not have come through.
fn check_head(head: &Head, plan: &Plan, proxied: bool) {
    let version = if plan.old && !proxied { "HTTP/1.0" } else { "HTTP/1.1" };
    assert_eq!(head.line, format!("{} {} {version}", plan.method, target(plan)));
    assert_eq!(head.field("host"), Some(HOST));
    for number in 0..plan.filler_fields {
        let (name, value) = filler(plan, number);
        assert_eq!(head.field(&name), Some(value.as_str()), "a field that is not ours to change");
    }
    if proxied {
        // RFC 9110 §7.6.1: fields that `Connection` names end here.
        assert_eq!(head.field("x-hop"), None);
        assert!(!head.connection_has("x-hop"));
    }
    let edited = plan.mark.map(|_| "yes");
    assert_eq!(head.field("x-edited"), edited, "the filter adds it once");
    assert_eq!(head.connection_has("upgrade"), plan.upgrade);
    assert_eq!(head.field("upgrade"), plan.upgrade.then_some("sim-echo"));
}

/// The target that a plan's client asks for.
pub(crate) fn target(plan: &Plan) -> String {
    format!("/e/{:016x}?n={}", plan.id, plan.filler_fields)
}

/// A field that only makes the head longer.
pub(crate) fn filler(plan: &Plan, number: u32) -> (String, String) {
    let length = (plan.id >> (number % 50)) % 60;
    (format!("x-filler-{number}"), "v".repeat(1 + length as usize))
}

async fn exchange(wire: &Wire, head: &Head, plan: &Plan, before: u32) -> Result<Then, Broken> {
    let answer = &plan.answer;
    match answer.fault {
        Some(Fault::ResetBefore { once }) if before == 0 || !once => {
            return Ok(Then::Close(CloseKind::Reset));
        }
        Some(Fault::EndBefore { once }) if before == 0 || !once => {
            return Ok(Then::Close(CloseKind::Now));
        }
        _ => {}
    }
    if !answer.early {
        read_body(wire, head, plan).await?;
    }
    match answer.fault {
        Some(Fault::Malformed(bytes)) => {
            wire.write(bytes, &answer.pace).await?;
            return Ok(Then::Close(CloseKind::Now));
        }
        Some(Fault::Mute) => {
            while wire.more().await? {
                wire.take_all();
            }
            return Ok(Then::Close(CloseKind::Now));
        }
        _ => {}
    }
    let mut text = Vec::new();
    for _ in 0..answer.interim_count {
        text.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n");
    }
    text.extend(render(plan));
    if let Some(Fault::CutAfter { bytes, reset }) = answer.fault {
        text.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
        wire.write(&text, &answer.pace).await?;
        return Ok(Then::Close(if reset { CloseKind::Reset } else { CloseKind::Now }));
    }
    wire.write(&text, &answer.pace).await?;
    if plan.tunnels() {
        return tunnel(wire, plan).await;
    }
    if answer.early {
        read_body(wire, head, plan).await?;
    }
    let closes = head.connection_has("close") || head.line.ends_with("1.0");
    let delimited = answer.ends_by_close(plan) && plan.answer_has_body();
    Ok(if closes || delimited { Then::Close(CloseKind::Now) } else { Then::Keep })
}

async fn read_body(wire: &Wire, head: &Head, plan: &Plan) -> Result<(), Broken> {
    let framing = head.framing(Framing::None);
    if head.field("expect").is_some() && !plan.answer.early && framing != (Framing::None, 0) {
        wire.write(b"HTTP/1.1 100 Continue\r\n\r\n", &Pace::QUICK).await?;
    }
    let mut expected = Expected::text("origin", plan.text());
    wire.body(framing, &mut expected, &plan.answer.pace).await?;
    assert_eq!(expected.passed, plan.body_bytes, "a whole body has all of its bytes");
    Ok(())
}

/// The final answer in bytes.
fn render(plan: &Plan) -> Vec<u8> {
    let answer = &plan.answer;
    let mut head = format!("HTTP/1.1 {} Planned\r\nx-id: {:x}\r\n", answer.status, plan.id);
    if plan.tunnels() {
        head += "connection: upgrade\r\nupgrade: sim-echo\r\n\r\n";
        return head.into_bytes();
    }
    let mut options = Vec::new();
    if plan.filler_fields.is_multiple_of(3) {
        options.push("x-hop");
        head += "x-hop: 1\r\n";
    }
    let count = usize::try_from(answer.body_bytes).unwrap_or(0);
    let body = if plan.answer_has_body() { plan.answer_text().next(count) } else { Vec::new() };
    let mut encoded = Vec::new();
    match answer.body {
        Framing::None => {}
        // RFC 9110 §8.6: no length with 204.
        _ if answer.status == 204 => {}
        Framing::Length => head += &format!("content-length: {count}\r\n"),
        Framing::Chunked if plan.old => options.push("close"),
        Framing::Chunked => head += "transfer-encoding: chunked\r\n",
        Framing::Close => options.push("close"),
    }
    if answer.body == Framing::Chunked && plan.answer_has_body() && !plan.old {
        encode_chunked(&body, plan.id, &mut encoded);
    } else {
        encoded = body;
    }
    if !options.is_empty() {
        head += &format!("connection: {}\r\n", options.join(", "));
    }
    head += "\r\n";
    let mut all = head.into_bytes();
    all.extend(encoded);
    all
}

/// Appends `body` in chunks whose sizes follow from `key`.
pub(crate) fn encode_chunked(body: &[u8], key: u64, out: &mut Vec<u8>) {
    let (mut rest, mut round) = (body, key);
    while !rest.is_empty() {
        round = round.rotate_left(7).wrapping_mul(5) | 1;
        let size = rest.len().min(1 + (round % 1500) as usize);
        out.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        out.extend_from_slice(&rest[..size]);
        out.extend_from_slice(b"\r\n");
        rest = &rest[size..];
    }
    let trailer = if key.is_multiple_of(4) { "x-trailer: 1\r\n" } else { "" };
    out.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
}

/// Sends back what comes, until the end.
async fn tunnel(wire: &Wire, plan: &Plan) -> Result<Then, Broken> {
    let mut text = plan.text();
    loop {
        if !wire.more().await? {
            return Ok(Then::Close(CloseKind::Now));
        }
        let bytes = wire.take_all();
        text.check("origin's tunnel", &bytes);
        wire.write(&bytes, &plan.answer.pace).await?;
    }
}
