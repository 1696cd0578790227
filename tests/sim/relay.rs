//! The world shown on an echo server and a byte relay, both written against `Env` alone.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use penstock_env::{Address, Env, Rng, SendBuf, Stream, StreamExt, Timer, TimerExt};
use penstock_tests::sim::{Death, Faults, Limits, SimEnv, World, check_few_seeds};

#[test]
fn every_byte_comes_back_whatever_the_cuts() {
    check_few_seeds("relay, calm", Faults::CALM, |world| scenario(world, &Expect::All));
}

#[test]
fn what_comes_back_is_right_though_connections_break() {
    check_few_seeds("relay, rough", Faults::ROUGH, |world| scenario(world, &Expect::Prefix));
}

#[test]
fn nothing_is_left_over_when_an_endpoint_dies() {
    for death in [Death::Reset, Death::Silent] {
        check_few_seeds("relay, death", Faults::CALM, |world| {
            scenario(world, &Expect::DeathOf(death));
        });
    }
}

enum Expect {
    All,
    Prefix,
    DeathOf(Death),
}

/// Clients talk through a relay with few buffers to an echo server.
fn scenario(world: &World, expect: &Expect) {
    let mut rng = world.rng();
    let relay = world.node("relay", Limits::tight(&mut rng));
    let origin = world.node("origin", Limits::AMPLE);
    let client = world.node("client", Limits::AMPLE);
    let (front, back) = (relay.address(80), origin.address(8080));

    let env = origin.clone();
    origin.listen(&back, move |stream| env.spawn(echo(env.clone(), stream)));
    let (env, to) = (relay.clone(), back.clone());
    relay.listen(&front, move |stream| env.spawn(relay_one(env.clone(), stream, to.clone())));

    let count = 1 + rng.below(6);
    let whole = Rc::new(Cell::new(0));
    for _ in 0..count {
        let talk = Talk { seed: rng.next_u64(), bytes: rng.below(8_000) as usize };
        client.spawn(talk.run(client.clone(), front.clone(), whole.clone()));
    }
    if let Expect::DeathOf(death) = *expect {
        let wait = Duration::from_micros(u64::from(rng.below(20_000)));
        world.after(wait, move |world| world.kill(&origin, death));
    }
    world.finish(Duration::from_secs(600));
    if matches!(expect, Expect::All) {
        assert_eq!(whole.get(), count, "each client got all of its bytes back");
    }
}

/// Sends back what it gets, the end included.
async fn echo<E: Env>(env: E, stream: E::Stream) {
    let _ = copy(&env, &stream, &stream).await;
}

/// Joins a connection with a new one to `to`; gives up when neither side moves for 30 s.
pub(crate) async fn relay_one<E: Env>(env: E, downstream: E::Stream, to: Address) {
    let timer = env.timer();
    timer.set(env.now() + Duration::from_secs(1));
    let Some(Ok(upstream)) = timer.race(env.connect(&to)).await else { return };
    timer.set(env.now() + Duration::from_secs(30));
    let there = copy(&env, &downstream, &upstream);
    let back = copy(&env, &upstream, &downstream);
    timer.race(both(there, back)).await;
}

pub(crate) async fn copy<E: Env>(env: &E, from: &E::Stream, to: &E::Stream) -> io::Result<()> {
    while let Some(chunk) = from.recv().await? {
        let mut data = SendBuf::new(env.buffer());
        data.push_chunk(chunk);
        to.start_send(data);
        to.sent().await?;
    }
    to.shutdown_write();
    Ok(())
}

/// Runs two futures until both are done, or one has failed.
pub(crate) async fn both(
    one: impl Future<Output = io::Result<()>>,
    other: impl Future<Output = io::Result<()>>,
) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut one_done, mut other_done) = (false, false);
    poll_fn(|context| {
        if !one_done && let Poll::Ready(result) = one.as_mut().poll(context) {
            if result.is_err() {
                return Poll::Ready(());
            }
            one_done = true;
        }
        if !other_done && let Poll::Ready(result) = other.as_mut().poll(context) {
            if result.is_err() {
                return Poll::Ready(());
            }
            other_done = true;
        }
        if one_done && other_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// One client's conversation: bytes that only it can have sent.
struct Talk {
    seed: u64,
    bytes: usize,
}

impl Talk {
    async fn run(self, env: SimEnv, to: Address, whole: Rc<Cell<u32>>) {
        let Ok(stream) = env.connect(&to).await else { return };
        let sent = self.text();
        let received = Cell::new(0);
        let timer = env.timer();
        timer.set(env.now() + Duration::from_secs(60));
        let talk = both(self.send(&env, &stream, &sent), self.receive(&stream, &sent, &received));
        timer.race(talk).await;
        env.note("received", received.get() as u64);
        if received.get() == sent.len() {
            whole.set(whole.get() + 1);
        }
    }

    fn text(&self) -> Vec<u8> {
        let mut rng = Rng::new(self.seed);
        (0..self.bytes).map(|_| rng.next_u64() as u8).collect()
    }

    async fn send(&self, env: &SimEnv, stream: &impl Stream, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(3000) {
            let mut data = SendBuf::new(env.buffer());
            data.push(piece);
            stream.send(data).await?;
        }
        stream.sent().await?;
        stream.shutdown_write();
        Ok(())
    }

    async fn receive(
        &self,
        stream: &impl Stream,
        expected: &[u8],
        received: &Cell<usize>,
    ) -> io::Result<()> {
        while let Some(chunk) = stream.recv().await? {
            let at = received.get();
            assert!(at + chunk.len() <= expected.len(), "more came back than was sent");
            assert_eq!(expected[at..at + chunk.len()], chunk[..], "from byte {at}");
            received.set(at + chunk.len());
        }
        Ok(())
    }
}
