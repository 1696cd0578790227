//! Versions of a filter beside each other under load: a canary, swaps, and what is taken back.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, Env};
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, SimEnv, SimStream, World, check_few_seeds};

use crate::http::plan::{Framing, Pace};
use crate::http::wire::{Expected, Wire};
use crate::proxy::{Proxy, config};

const CLIENTS: usize = 4;
/// Between two reloads.
const TURN: Duration = Duration::from_secs(1);

/// What one version does shows in request and response alike: `x-edited` is `yes` or `other`.
type Seen = (u16, String);

#[test]
fn no_request_fails_while_versions_come_and_go() {
    check_few_seeds("versions under load", Faults::CALM, |world| {
        let own = "wasm = \"/edit.wasm\"\n";
        let canary =
            |share| format!("{own}canary = {{ share = \"{share}\", wasm = \"/other.wasm\" }}\n");
        let turns = [
            own.to_owned(),
            canary("50%"),
            canary("100%"),
            "wasm = \"/other.wasm\"\n".to_owned(),
            own.to_owned(),
        ];
        let play = Play::new(world, &turns, "plain");
        for (turn, expected) in ["yes", "yes other", "other", "other", "yes"].iter().enumerate() {
            if turn > 0 {
                play.proxy.reload();
            }
            let seen = play.turn(world);
            assert!(seen.iter().all(|(status, _)| *status == 200), "{seen:?}");
            for mark in ["yes", "other"] {
                let found = seen.iter().any(|(_, other)| other == mark);
                assert_eq!(found, expected.contains(mark), "{turn}: {mark} of {}", seen.len());
            }
        }
        assert_eq!(play.proxy.failures(), []);
        play.end(world);
    });
}

#[test]
fn a_version_that_fails_costs_five_requests() {
    check_few_seeds("versions that fail", Faults::CALM, |world| {
        let own = "wasm = \"/edit.wasm\"\n";
        let canary = format!("{own}canary = {{ share = \"30%\", wasm = \"/gate.wasm\" }}\n");
        // The same once more, then in the place of the other.
        let turns = [own.to_owned(), canary.clone(), canary, "wasm = \"/gate.wasm\"\n".to_owned()];
        let play = Play::new(world, &turns, "trap");
        for failures in [0, 5, 0, 5] {
            let denied = play.turn(world).iter().filter(|(status, _)| *status == 503).count();
            assert_eq!(denied, failures);
            // Nothing fails any more, on either shard.
            let seen = play.turn(world);
            assert!(seen.iter().all(|seen| *seen == (200, "yes".to_owned())), "{seen:?}");
            play.proxy.reload();
        }
        assert_eq!(play.proxy.failures(), [(Cause::FilterFailed, 10)]);
        play.end(world);
    });
}

/// Clients that ask without end, a proxy on two shards, an origin that says what it saw.
struct Play {
    proxy: Proxy,
    seen: Rc<RefCell<Vec<Seen>>>,
    going: Rc<Cell<bool>>,
}

impl Play {
    /// Each of `turns` is what a config says of the filter.
    fn new(world: &World, turns: &[String], mark: &'static str) -> Play {
        let env = world.node("origin", Limits::AMPLE);
        let (origin, own) = (env.address(8080), env.clone());
        env.listen(&origin, move |stream| own.spawn(answer(own.clone(), stream)));
        let text = |turn: &String| {
            let block = format!("[filter.edit]\n{turn}");
            config(std::slice::from_ref(&origin), "filters = [\"edit\"]\n", &block)
        };
        let texts: Vec<String> = turns.iter().map(text).collect();
        let proxy = Proxy::serve_on(world, &texts, 2);
        let play = Play { proxy, seen: Rc::default(), going: Rc::new(Cell::new(true)) };
        for _ in 0..CLIENTS {
            let env = world.node("client", Limits::AMPLE);
            let (seen, going) = (play.seen.clone(), play.going.clone());
            env.clone().spawn(ask(env, play.proxy.front.clone(), mark, seen, going));
        }
        play
    }

    /// What is answered in the next seconds. Requests under way at a reload end on what they began
    /// with, so what is answered in the first of them is not asked for here.
    fn turn(&self, world: &World) -> Vec<Seen> {
        world.run(TURN / 5);
        let before = self.seen.take();
        world.run(TURN);
        assert_eq!(world.panicked(), None, "a task panicked there");
        let seen = self.seen.take();
        assert!(seen.len() > 20, "{} answers", seen.len());
        // What failed did so in the first of them.
        let failed = before.into_iter().filter(|(status, _)| *status != 200);
        failed.chain(seen).collect()
    }

    fn end(self, world: &World) {
        self.going.set(false);
        world.run(TURN);
        self.proxy.end(world);
    }
}

async fn ask(
    env: SimEnv,
    to: Address,
    mark: &'static str,
    seen: Rc<RefCell<Vec<Seen>>>,
    going: Rc<Cell<bool>>,
) {
    let stream = Wire::connect(&env, &to).await.expect("the proxy listens");
    let wire = Wire::new(env, stream);
    while going.get() {
        let request = format!("GET /a HTTP/1.1\r\nHost: sim.test\r\nX-Mark: {mark}\r\n\r\n");
        wire.write(request.as_bytes(), &Pace::QUICK).await.expect("it is not closed");
        let head = wire.head().await.expect("it is not closed").expect("it is not closed");
        let mut body = Expected::anything("client");
        let read = wire.body(head.framing(Framing::Close), &mut body, &Pace::QUICK).await;
        assert_eq!(read, Ok(()));
        let field = |name: &str| head.field(name).unwrap_or_default().to_owned();
        let status = head.line.split(' ').nth(1).and_then(|status| status.parse().ok());
        // One version had both halves of it in its hands.
        if status == Some(200) {
            assert_eq!(field("x-edited"), field("x-saw"));
        }
        seen.borrow_mut().push((status.unwrap_or(0), field("x-edited")));
        let pause = Duration::from_micros(wire.env.random() % 50_000);
        Wire::sleep_on(&wire.env, pause).await;
    }
}

async fn answer(env: SimEnv, stream: SimStream) {
    let wire = Wire::new(env, stream);
    while let Ok(Some(head)) = wire.head().await {
        let saw = head.field("x-edited").unwrap_or_default();
        let answer = format!("HTTP/1.1 200 OK\r\nx-saw: {saw}\r\nContent-Length: 2\r\n\r\nok");
        if wire.write(answer.as_bytes(), &Pace::QUICK).await.is_err() {
            return;
        }
    }
}
