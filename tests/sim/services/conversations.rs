//! Services of layer 4 between clients and endpoints that talk both ways at once.
//!
//! Whatever happens: what arrives is what was sent, from its begin; a stream that ends in order is
//! whole; and when all is over, all counts are back to zero.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use penstock_env::{Address, Env, Rng, SendBuf, Stream, StreamExt, Timer, TimerExt};
use penstock_proxy::Cause;
use penstock_tests::sim::{Death, Faults, Limits, Path, SimEnv, SimStream, World, check_few_seeds};

use crate::proxy::Proxy;
use crate::relay::both;

const SECOND: Duration = Duration::from_secs(1);
/// Longer than any timeout of what is under test.
const PATIENCE: Duration = Duration::from_secs(300);

/// A service in front of these, with more for itself and for its cluster.
pub(crate) fn config(endpoints: &[Address], service: &str, cluster: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|one| format!("\"{one}\"")).collect();
    format!(
        "[service.s]\nvip = \"10.9.9.9\"\nports = \"tcp/80\"\nto = \"c\"\n{service}\n\
         [cluster.c]\nendpoints = [{}]\n{cluster}\n",
        endpoints.join(", ")
    )
}

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
    whole: Cell<u32>,
    /// Clients whose connection broke.
    broken: Cell<u32>,
    /// Endpoints that got all that was sent to them.
    heard: Cell<u32>,
    /// Bytes of whole conversations, up and down.
    bytes: Cell<(u64, u64)>,
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

#[test]
fn every_byte_arrives_both_ways_and_so_do_the_ends() {
    let (spliced, all) = (AtomicU64::new(0), AtomicU64::new(0));
    check_few_seeds("services, calm", Faults::CALM, |world| {
        let ledger: Rc<Ledger> = Rc::default();
        let ends: Vec<_> = (0..2).map(|_| talker(world, &ledger).1).collect();
        let proxy = Proxy::serve_on(world, &[config(&ends, "", "")], 2);
        talk(world, &proxy.front, 8, 40_000, &ledger);
        settle(world, &ledger, 8);
        assert_eq!((ledger.whole.get(), ledger.broken.get()), (8, 0));
        assert!(world.run_until(60 * SECOND, || ledger.heard.get() == 8), "endpoints hear it all");
        assert_eq!(proxy.failures(), []);
        let bytes = proxy.service_bytes();
        assert_eq!(bytes, ledger.bytes.get());
        spliced.fetch_add(proxy.spliced_bytes(), Relaxed);
        all.fetch_add(bytes.0 + bytes.1, Relaxed);
        proxy.end(world);
    });
    let (spliced, all) = (spliced.load(Relaxed), all.load(Relaxed));
    assert!(spliced > all / 10 && spliced < all, "{spliced} of {all} bytes by conduits");
}

#[test]
fn a_connection_that_breaks_is_no_end_and_no_other_connections() {
    check_few_seeds("services, rough", Faults::ROUGH, |world| {
        let ledger = Rc::default();
        let ends: Vec<_> = (0..3).map(|_| talker(world, &ledger).1).collect();
        let proxy = Proxy::serve(world, &config(&ends, "", ""));
        talk(world, &proxy.front, 12, 20_000, &ledger);
        settle(world, &ledger, 12);
        proxy.end(world);
    });
}

#[test]
fn an_endpoint_that_dies_takes_its_own_connections_with_it() {
    for death in [Death::Reset, Death::Silent] {
        check_few_seeds("services, death", Faults::CALM, |world| {
            let ledger = Rc::default();
            let talkers: Vec<_> = (0..2).map(|_| talker(world, &ledger)).collect();
            let ends: Vec<_> = talkers.iter().map(|(_, address)| address.clone()).collect();
            let service = "timeouts.idle = \"20s\"";
            let proxy = Proxy::serve(world, &config(&ends, service, "balance = \"round-robin\""));
            talk(world, &proxy.front, 8, 20_000, &ledger);
            let wait = Duration::from_micros(u64::from(world.rng().below(20_000)));
            let dying = talkers[0].0.clone();
            world.after(wait, move |world| world.kill(&dying, death));
            settle(world, &ledger, 8);
            // Those of the other endpoint, at least: new ones go there when the first is gone.
            assert!(ledger.whole.get() >= 4, "{} whole", ledger.whole.get());
            proxy.end(world);
        });
    }
}

#[test]
fn another_endpoint_is_tried_where_one_cannot_be_connected_to() {
    for (path, cause) in [
        (Path::Refused, Cause::ConnectRefused),
        (Path::Hole, Cause::ConnectTimeout),
        (Path::Fails(113), Cause::ConnectFailed),
    ] {
        check_few_seeds("services, retry", Faults::NONE, |world| {
            let ledger = Rc::default();
            let ends: Vec<_> = (0..2).map(|_| talker(world, &ledger).1).collect();
            world.set_path(&ends[0], path);
            let proxy = Proxy::serve(world, &config(&ends, "", "balance = \"round-robin\""));
            talk(world, &proxy.front, 6, 2_000, &ledger);
            settle(world, &ledger, 6);
            assert_eq!(ledger.whole.get(), 6);
            // What another endpoint made good is no failure of the service's.
            assert_eq!(proxy.failures(), []);
            let failed = match proxy.tries_failed()[..] {
                [(found, count)] if found == cause => count,
                ref other => panic!("{other:?}"),
            };
            // Nobody left: as many tries as there are endpoints, and a reset.
            world.set_path(&ends[1], path);
            talk(world, &proxy.front, 2, 2_000, &ledger);
            settle(world, &ledger, 8);
            assert_eq!(ledger.broken.get(), 2);
            assert_eq!(proxy.failures(), [(cause, 2)]);
            assert_eq!(proxy.tries_failed(), [(cause, failed + 4)]);
            proxy.end(world);
        });
    }
}

/// Whether a connection was reset, once it is over.
pub(crate) type Fate = Rc<Cell<Option<bool>>>;

/// [`sit`] from a node of its own.
fn silent(world: &World, front: &Address, leave: &Rc<Cell<bool>>) -> Fate {
    sit(&world.node("silent", Limits::AMPLE), front, leave)
}

/// Connects and says nothing until `leave`; whether its connection was reset before.
pub(crate) fn sit(env: &SimEnv, front: &Address, leave: &Rc<Cell<bool>>) -> Fate {
    let fate = Rc::new(Cell::new(None));
    let (own, front, leave, told) = (env.clone(), front.clone(), leave.clone(), fate.clone());
    env.spawn(async move {
        let stream = own.connect(&front).await.expect("the proxy listens");
        let timer = own.timer();
        while !leave.get() {
            timer.set(own.now() + SECOND / 10);
            if let Some(received) = timer.race(stream.recv()).await {
                return told.set(Some(received.is_err()));
            }
        }
        told.set(Some(false));
    });
    fate
}

#[test]
fn who_says_nothing_for_too_long_is_cut_by_a_reset() {
    check_few_seeds("services, idle", Faults::CALM, |world| {
        let ledger = Rc::default();
        let end = talker(world, &ledger).1;
        let proxy = Proxy::serve(world, &config(&[end], "timeouts.idle = \"5s\"", ""));
        let (leave, begun) = (Rc::default(), world.now());
        let fate = silent(world, &proxy.front, &leave);
        assert!(world.run_until(60 * SECOND, || fate.get().is_some()));
        assert_eq!(fate.get(), Some(true), "a reset");
        let waited = world.now().since(begun);
        assert!((5 * SECOND..6 * SECOND).contains(&waited), "{waited:?}");
        assert_eq!(proxy.failures(), [(Cause::TunnelIdle, 1)]);
        proxy.end(world);
    });
}

/// An endpoint that sends without end, and reads nothing.
fn fountain(world: &World) -> (SimEnv, Address) {
    let env = world.node("endpoint", Limits::AMPLE);
    let (address, own) = (env.address(9_000), env.clone());
    env.listen(&address, move |stream| {
        let env = own.clone();
        own.spawn(async move {
            loop {
                let mut data = SendBuf::new(env.buffer());
                data.push(&[7; 1_000]);
                if stream.send(data).await.is_err() {
                    return;
                }
            }
        });
    });
    (env, address)
}

/// Connects, sends a byte now and again, and reads so many bytes each time; whether its connection
/// was cut within the time.
fn reader(world: &World, front: &Address, bytes: usize, time: Duration) -> Rc<Cell<Option<bool>>> {
    let env = world.node("client", Limits::AMPLE);
    let (own, front, fate) = (env.clone(), front.clone(), Rc::new(Cell::new(None)));
    let told = Rc::clone(&fate);
    env.spawn(async move {
        let stream = own.connect(&front).await.expect("the proxy listens");
        let (timer, until) = (own.timer(), own.now() + time);
        while own.now() < until {
            let mut data = SendBuf::new(own.buffer());
            data.push(b"x");
            let mut cut = stream.send(data).await.is_err();
            let mut read = 0;
            while read < bytes && !cut {
                match stream.recv().await {
                    Ok(Some(chunk)) => read += chunk.len(),
                    _ => cut = true,
                }
            }
            if cut {
                return told.set(Some(true));
            }
            timer.set(own.now() + SECOND / 2);
            timer.expired().await;
        }
        told.set(Some(false));
    });
    fate
}

#[test]
fn who_does_not_read_is_cut_though_it_sends() {
    for (name, timeouts, bytes, cut) in [
        ("services, unread", "{ idle = \"5s\" }", 0, true),
        ("services, unread sooner", "{ idle = \"1h\", write_stall = \"5s\" }", 0, true),
        ("services, read", "{ idle = \"5s\" }", 1, false),
        ("services, slow", "{ write_stall = \"5s\", write_rate_min = \"64KiB\" }", 1, true),
        ("services, fast", "{ write_stall = \"5s\", write_rate_min = \"1KiB\" }", 2_000, false),
    ] {
        check_few_seeds(name, Faults::NONE, |world| {
            let end = fountain(world).1;
            let more = format!("timeouts = {timeouts}");
            let proxy = Proxy::serve(world, &config(&[end], &more, ""));
            let fate = reader(world, &proxy.front, bytes, 30 * SECOND);
            assert!(world.run_until(60 * SECOND, || fate.get().is_some()));
            assert_eq!(fate.get(), Some(cut), "{timeouts}");
            let causes: Vec<Cause> = proxy.failures().iter().map(|(cause, _)| *cause).collect();
            let expected = if cut { vec![Cause::DownstreamStalled] } else { vec![] };
            assert_eq!(causes, expected, "{timeouts}");
            proxy.end(world);
        });
    }
}

#[test]
fn a_cluster_has_no_more_connections_than_it_may() {
    check_few_seeds("services, full", Faults::NONE, |world| {
        let ledger = Rc::default();
        let end = talker(world, &ledger).1;
        let limits = "limits.connections = 2\ntimeouts.queue = \"500ms\"";
        let proxy = Proxy::serve(world, &config(&[end], "", limits));
        let leave = Rc::new(Cell::new(false));
        let there: Vec<_> = (0..2).map(|_| silent(world, &proxy.front, &leave)).collect();
        world.after(SECOND, |_| {});
        world.run(SECOND);
        // The third waits in vain, the fourth until there is a place.
        let third = silent(world, &proxy.front, &leave);
        assert!(world.run_until(10 * SECOND, || third.get().is_some()));
        assert_eq!((third.get(), there[0].get()), (Some(true), None));
        assert_eq!(proxy.failures(), [(Cause::QueueTimeout, 1)]);
        leave.set(true);
        talk(world, &proxy.front, 1, 1_000, &ledger);
        settle(world, &ledger, 1);
        assert_eq!(ledger.whole.get(), 1);
        proxy.end(world);
    });
}

#[test]
fn a_service_takes_no_more_connections_than_it_may() {
    for (limit, cause) in [
        ("limits.connections = 2", Cause::ConnectionsMax),
        ("limits.connections_per_source = 2", Cause::SourceConnectionsMax),
    ] {
        check_few_seeds("services, limits", Faults::NONE, |world| {
            let ledger = Rc::default();
            let end = talker(world, &ledger).1;
            let proxy = Proxy::serve(world, &config(&[end], limit, ""));
            let (env, leave) = (world.node("silent", Limits::AMPLE), Rc::new(Cell::new(false)));
            let there: Vec<_> = (0..2).map(|_| sit(&env, &proxy.front, &leave)).collect();
            world.after(SECOND, |_| {});
            world.run(SECOND);
            assert_eq!(proxy.service_connections(), 2);
            let third = sit(&env, &proxy.front, &leave);
            assert!(world.run_until(10 * SECOND, || third.get().is_some()));
            assert_eq!((there[0].get(), there[1].get()), (None, None));
            assert_eq!(proxy.failures(), [(cause, 1)]);
            leave.set(true);
            proxy.end(world);
        });
    }
}

#[test]
fn a_source_meets_the_endpoint_that_its_address_hashes_to() {
    check_few_seeds("services, maglev", Faults::NONE, |world| {
        let seen: Rc<RefCell<Vec<(Address, usize)>>> = Rc::default();
        let ends: Vec<_> = (0..4)
            .map(|number| {
                let env = world.node("endpoint", Limits::AMPLE);
                let (address, seen) = (env.address(8080), seen.clone());
                let own = env.clone();
                env.listen(&address, move |stream| {
                    let seen = seen.clone();
                    own.spawn(async move {
                        if let Ok(Some(chunk)) = stream.recv().await {
                            let text = std::str::from_utf8(&chunk).expect("an address");
                            let who = text.parse().expect("an address");
                            seen.borrow_mut().push((who, number));
                        }
                    });
                });
                address
            })
            .collect();
        let proxy = Proxy::serve_on(world, &[config(&ends, "", "balance = \"maglev\"")], 3);
        for _ in 0..6 {
            let env = world.node("client", Limits::AMPLE);
            let (own, front, name) = (env.clone(), proxy.front.clone(), env.address(1));
            env.spawn(async move {
                for _ in 0..5 {
                    let stream = own.connect(&front).await.expect("the proxy listens");
                    stream.start_send(SendBuf::of(name.to_string().into_bytes()));
                    let _ = stream.recv().await;
                }
            });
        }
        assert!(world.run_until(60 * SECOND, || seen.borrow().len() == 30));
        let seen = seen.borrow();
        for (who, number) in &*seen {
            let (_, first) = seen.iter().find(|(other, _)| other == who).expect("itself");
            assert_eq!(number, first, "{who}");
        }
        proxy.end(world);
    });
}

#[test]
fn no_change_of_config_closes_a_connection() {
    check_few_seeds("services, reload", Faults::CALM, |world| {
        let ledger = Rc::default();
        let ends: Vec<_> = (0..2).map(|_| talker(world, &ledger).1).collect();
        // Another endpoint, no service at all, and back.
        let gone = format!("[cluster.other]\nendpoints = [\"{}\"]\n", ends[1]);
        let texts = [config(&ends[..1], "", ""), config(&ends[1..], "", ""), gone];
        let proxy = Proxy::serve_on(world, &texts, 1);
        talk(world, &proxy.front, 6, 60_000, &ledger);
        // A connection that comes to a socket which is about to close is served, too.
        for round in 1..6 {
            let proxy = proxy.clone();
            world.after(Duration::from_millis(4 * round), move |_| proxy.reload());
        }
        settle(world, &ledger, 6);
        assert_eq!(ledger.whole.get(), 6);
        assert!(world.run_until(60 * SECOND, || ledger.heard.get() == 6), "endpoints hear it all");
        assert_eq!(proxy.failures(), []);
        proxy.end(world);
    });
}
