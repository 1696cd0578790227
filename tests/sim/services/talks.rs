//! Conversations: a client and an endpoint that know what the other says.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, Env, Rng, SendBuf, Stream, StreamExt, Timer, TimerExt};
use penstock_tests::sim::{Limits, SimEnv, SimStream, World};

use crate::relay::both;

/// Longer than any timeout of what is under test.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a conversation is about; the endpoint learns it from the client's first bytes.
#[derive(Clone, Copy)]
struct Talk {
    seed: u64,
    up_bytes: u32,
    down_bytes: u32,
}

impl Talk {
    fn draw(rng: &mut Rng, bytes_max: u32) -> Talk {
        // Small ones as often as large ones.
        let mut bytes = || {
            let shift = rng.below(8);
            rng.below(bytes_max >> shift)
        };
        let (up_bytes, down_bytes) = (bytes(), bytes());
        Talk { seed: rng.next_u64(), up_bytes, down_bytes }
    }

    fn head(&self) -> [u8; 16] {
        let mut head = [0; 16];
        head[..8].copy_from_slice(&self.seed.to_le_bytes());
        head[8..12].copy_from_slice(&self.up_bytes.to_le_bytes());
        head[12..].copy_from_slice(&self.down_bytes.to_le_bytes());
        head
    }

    fn of(head: &[u8]) -> Talk {
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        let seed = u64::from_le_bytes(head[..8].try_into().expect("8 bytes"));
        Talk { seed, up_bytes: word(8), down_bytes: word(12) }
    }

    fn text(seed: u64, bytes: u32) -> Vec<u8> {
        let mut rng = Rng::new(seed);
        (0..bytes).map(|_| rng.next_u64() as u8).collect()
    }

    fn up(&self) -> Vec<u8> {
        Talk::text(self.seed, self.up_bytes)
    }

    fn down(&self) -> Vec<u8> {
        Talk::text(!self.seed, self.down_bytes)
    }
}

/// How conversations went.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Clients that got all of the answer.
    pub(super) whole: Cell<u32>,
    /// Clients whose connection broke.
    pub(super) broken: Cell<u32>,
    /// Endpoints that got all that was sent to them.
    pub(super) heard: Cell<u32>,
    /// Bytes of whole conversations, up and down.
    pub(super) bytes: Cell<(u64, u64)>,
}

impl Ledger {
    pub(crate) fn whole(&self) -> u32 {
        self.whole.get()
    }

    pub(crate) fn heard(&self) -> u32 {
        self.heard.get()
    }

    /// Bytes of whole conversations, up and down.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        self.bytes.get()
    }
}

fn add(counter: &Cell<u32>) {
    counter.set(counter.get() + 1);
}

/// Sends `bytes` in pieces of any size, then its end.
async fn send(env: &SimEnv, stream: &SimStream, bytes: &[u8], seed: u64) -> io::Result<()> {
    let (mut rng, mut rest) = (Rng::new(seed), bytes);
    let timer = env.timer();
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((1 + rng.below(3_000) as usize).min(rest.len()));
        rest = behind;
        let mut data = SendBuf::new(env.buffer());
        data.push(piece);
        stream.send(data).await?;
        if rng.below(20) == 0 {
            timer.set(env.now() + Duration::from_millis(u64::from(rng.below(30))));
            timer.expired().await;
        }
    }
    stream.sent().await?;
    stream.shutdown_write();
    Ok(())
}

/// Receives to the end; what ends in order is all of `expected`.
async fn receive(stream: &SimStream, expected: &[u8]) -> io::Result<()> {
    let mut at = 0;
    while let Some(chunk) = stream.recv().await? {
        assert!(at + chunk.len() <= expected.len(), "more came than was sent");
        assert_eq!(expected[at..at + chunk.len()], chunk[..], "from byte {at}");
        at += chunk.len();
    }
    assert_eq!(at, expected.len(), "an end that looks as if it were whole");
    Ok(())
}

/// A client's side of a conversation.
async fn client(env: SimEnv, to: Address, talk: Talk, ledger: Rc<Ledger>) {
    let timer = env.timer();
    timer.set(env.now() + PATIENCE);
    let Some(Ok(stream)) = timer.race(env.connect(&to)).await else { return add(&ledger.broken) };
    let whole = Cell::new(false);
    let text = [&talk.head()[..], &talk.up()].concat();
    let (sending, receiving) = (send(&env, &stream, &text, talk.seed), async {
        receive(&stream, &talk.down()).await?;
        whole.set(true);
        Ok(())
    });
    timer.race(both(sending, receiving)).await;
    if !whole.get() {
        return add(&ledger.broken);
    }
    add(&ledger.whole);
    let (up, down) = ledger.bytes.get();
    ledger.bytes.set((up + text.len() as u64, down + u64::from(talk.down_bytes)));
}

/// An endpoint's side of a conversation.
async fn endpoint(env: SimEnv, stream: SimStream, ledger: Rc<Ledger>) {
    let mut head = Vec::new();
    while head.len() < 16 {
        match stream.recv().await {
            Ok(Some(chunk)) => head.extend_from_slice(&chunk),
            Ok(None) | Err(_) => return,
        }
    }
    let talk = Talk::of(&head);
    let up = talk.up();
    assert_eq!(up[..head.len() - 16], head[16..]);
    let timer = env.timer();
    timer.set(env.now() + PATIENCE);
    let down = talk.down();
    let heard = Cell::new(false);
    let (sending, receiving) = (send(&env, &stream, &down, !talk.seed), async {
        receive(&stream, &up[head.len() - 16..]).await?;
        heard.set(true);
        Ok(())
    });
    timer.race(both(sending, receiving)).await;
    if heard.get() {
        add(&ledger.heard);
    }
}

/// An endpoint that talks.
pub(crate) fn talker(world: &World, ledger: &Rc<Ledger>) -> (SimEnv, Address) {
    let env = world.node("endpoint", Limits::AMPLE);
    let (own, address, ledger) = (env.clone(), env.address(8080), ledger.clone());
    env.listen(&address, move |stream| {
        own.spawn(endpoint(own.clone(), stream, ledger.clone()));
    });
    (env, address)
}

/// Clients at once, and what became of them.
pub(crate) fn talk(
    world: &World,
    front: &Address,
    count: u32,
    bytes_max: u32,
    ledger: &Rc<Ledger>,
) {
    let (env, mut rng) = (world.node("client", Limits::AMPLE), world.rng());
    for _ in 0..count {
        let talk = Talk::draw(&mut rng, bytes_max);
        env.spawn(client(env.clone(), front.clone(), talk, ledger.clone()));
    }
}

pub(crate) fn settle(world: &World, ledger: &Ledger, count: u32) {
    let done = || ledger.whole.get() + ledger.broken.get() == count || world.panicked().is_some();
    let settled = world.run_until(Duration::from_secs(3600), done);
    assert_eq!(world.panicked(), None, "a task panicked there");
    assert!(settled, "conversations without an end: {:#?}", world.leaks());
}
