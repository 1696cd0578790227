//! Any bytes as what one side of a live session of HTTP/2 says, in the simulated world: what must
//! hold for them, shared by the seeded test and the fuzz target.
//!
//! The bytes are a script: frames of every kind with bent fields, other bytes, and pauses
//! (`script`). A client says it to the proxy, or an origin to the proxy's own client (`peer`).
//! Whatever it is: nobody panics, the proxy keeps to RFC 9113 (`judge`), who asks beside it is
//! answered with what is theirs (`good`), every connection ends, and all of the proxy's counts are
//! back to zero. `samples` are scripts to begin with.

mod good;
mod judge;
mod peer;
mod samples;
mod script;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, Env, Rng};

use crate::proxy::{Bare, Outfit, ProxyNode};
use crate::sim::{Faults, Limits, SimEnv, World};
use good::{MARK, ask_http1, ask_http2, listen_http1, listen_http2, text_of};
use judge::{End, Judge};
use peer::{Goodbye, Peer};
pub use samples::samples;
use script::{Side, Source, Speaker};

/// Any bytes: two for the world, one for who is in it, the rest is what is said.
///
/// # Panics
/// When something does not hold that must.
pub fn check_session(input: &[u8]) {
    let Some((&[high, low], script)) = input.split_first_chunk::<2>() else { return };
    let faults = if high & 1 == 0 { Faults::NONE } else { Faults::CALM };
    let world = World::new(u64::from(u16::from_be_bytes([high, low])), faults);
    play(&world, script);
}

/// A script for a seed.
pub fn script_of(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let bytes = 1 + rng.below(400);
    (0..bytes).map(|_| rng.below(256) as u8).collect()
}

/// Plays a script in `world`.
///
/// # Panics
/// When something does not hold that must.
pub fn play(world: &World, script: &[u8]) {
    let mut source = Source::new(script);
    let first = source.byte();
    let side = if first & 1 == 0 { Side::Client } else { Side::Server };
    let goodbye = [Goodbye::Listen, Goodbye::Close, Goodbye::Reset][usize::from(first >> 4) % 3];
    let (client, origin) = (world.node("client", Limits::AMPLE), world.node("o", Limits::AMPLE));
    let (address, source) = (origin.address(8080), Rc::new(RefCell::new(source)));
    let http2 = side == Side::Server || first & 2 != 0;
    match (side, http2) {
        (Side::Client, true) => listen_http2(&origin, &address),
        (Side::Client, false) => listen_http1(&origin, &address),
        (Side::Server, _) => listen_badly(&origin, &address, &source, goodbye),
    }
    let bare = |_: &SimEnv| Box::new(Bare) as Box<dyn Outfit>;
    let proxy = ProxyNode::serve(world, &[config(&address, http2)], 1, bare);
    let left = Rc::new(Cell::new(0));
    let spawn = |task: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        left.set(left.get() + 1);
        let left = left.clone();
        client.spawn(async move {
            task.await;
            left.set(left.get() - 1);
        });
    };
    let (env, front) = (client.clone(), proxy.front.clone());
    match side {
        Side::Client => spawn(Box::pin(speak(env, front, source, goodbye))),
        Side::Server => spawn(Box::pin(ask_http1(env, front))),
    }
    let exact = side == Side::Client;
    spawn(Box::pin(ask_http2(client.clone(), proxy.front.clone(), exact)));
    let done = || left.get() == 0 || world.panicked().is_some();
    let settled = world.run_until(Duration::from_secs(3_600), done);
    assert_eq!(world.panicked(), None, "a task panicked there");
    assert!(settled, "{} did not end: {:#?}", left.get(), world.leaks());
    proxy.end(world);
}

/// A client that says what the script says.
async fn speak(env: SimEnv, front: Address, source: Rc<RefCell<Source>>, goodbye: Goodbye) {
    let stream = env.connect(&front).await.expect("the proxy listens");
    let peer = Peer::new(&env, stream, Judge::of_server());
    let (said, heard) = peer.play(&source, Side::Client, goodbye).await;
    judge_answers(&said, &heard);
}

/// A byte of an origin's never goes to another stream than the one that asked for it.
fn judge_answers(said: &Speaker, heard: &Judge) {
    for (stream, heard) in &heard.streams {
        let Some(&id) = said.asked.get(stream).filter(|_| !said.bent) else { continue };
        if !heard.content.starts_with(MARK.as_bytes()) {
            continue;
        }
        let text = text_of(id);
        let is_of_it = match heard.end {
            Some(End::Whole) => text.as_bytes() == heard.content,
            _ => text.as_bytes().starts_with(&heard.content),
        };
        assert!(is_of_it, "{stream}: {:?}", String::from_utf8_lossy(&heard.content));
    }
}

/// An origin whose connections say what the script says, one after the other or side by side.
fn listen_badly(env: &SimEnv, address: &Address, source: &Rc<RefCell<Source>>, goodbye: Goodbye) {
    let (own, source) = (env.clone(), source.clone());
    env.listen(address, move |stream| {
        let (peer, source) = (Peer::new(&own, stream, Judge::of_client()), source.clone());
        own.spawn(async move {
            peer.play(&source, Side::Server, goodbye).await;
        });
    });
}

fn config(origin: &Address, http2: bool) -> String {
    let protocol = if http2 { "protocol = \"h2\"\n" } else { "" };
    format!(
        "[observe]\ncause_header = true\n\
         [listener.web]\naddress = \"FRONT\"\n\
         timeouts = {{ request_head = \"2s\", body_stall = \"2s\", write_stall = \"2s\" }}\n\
         [[listener.web.route]]\nhost = \"{HOST}\"\nto = \"app\"\nupgrade = \"websocket\"\n\
         [cluster.app]\nendpoints = [\"{origin}\"]\n{protocol}"
    )
}

/// The host that there is a route for.
const HOST: &str = "sim.test";
