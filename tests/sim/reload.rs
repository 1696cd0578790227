//! Another config in mid-request: what is under way ends on what it began with, what comes later
//! sees the new, and no connection is closed for it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, Env};
use penstock_tests::sim::{Faults, Limits, SimEnv, SimStream, World, check_few_seeds};

use crate::http::plan::{Framing, Pace};
use crate::http::wire::{Expected, Wire};
use crate::proxy::{Proxy, config};

/// When the reload comes: every first request is answered or under way by then.
const RELOAD: Duration = Duration::from_secs(3);
/// How long an origin waits in the middle of a slow answer.
const WORK: Duration = Duration::from_secs(6);

const NEW_ROUTE: &str = "[[listener.web.route]]\nhost = \"sim.test\"\npath = \"/added\"\n\
    respond = { status = 200, body = \"12\" }\n";

#[test]
fn what_is_under_way_ends_on_what_it_began_with() {
    check_few_seeds("reload in mid-request", Faults::CALM, |world| {
        let (old, new) = (Origin::start(world, "old"), Origin::start(world, "new"));
        let text = |origin: &Origin, route: &str, wasm: &str| {
            let listener = format!("filters = [\"edit\"]\n{route}");
            let block = format!("[filter.edit]\nwasm = \"/{wasm}.wasm\"\n");
            config(std::slice::from_ref(&origin.address), &listener, &block)
        };
        let texts = [text(&old, "", "edit"), text(&new, NEW_ROUTE, "other")];
        let proxy = Proxy::serve_in_turn(world, &texts);
        let client = world.node("client", Limits::AMPLE);
        let done = Rc::new(Cell::new(0));
        for slow in [true, false] {
            let (env, to, done) = (client.clone(), proxy.front.clone(), done.clone());
            client.spawn(async move {
                talk(env, to, slow).await;
                done.set(done.get() + 1);
            });
        }
        let reloaded = proxy.clone();
        world.after(RELOAD, move |_| reloaded.reload());
        let over = || done.get() == 2 || world.panicked().is_some();
        assert!(world.run_until(Duration::from_secs(600), over), "{:#?}", world.leaks());
        assert_eq!(world.panicked(), None, "a task panicked there");
        assert_eq!((old.asked.get(), new.asked.get()), (4, 2));
        // The connections to the endpoint that left went with its pool, or after their request.
        world.run(Duration::from_secs(1));
        assert_eq!(old.open.get(), 0);
        assert_eq!(new.open.get(), proxy.pooled_count());
        assert_eq!(proxy.failures(), []);
        proxy.end(world);
    });
}

/// One connection over the reload: before, `slow` in the midst of it, after.
async fn talk(env: SimEnv, to: Address, slow: bool) {
    let stream = Wire::connect(&env, &to).await.expect("the proxy listens");
    let wire = Wire::new(env, stream);
    let (old, new) = (["yes", "yes", "old"], ["other", "other", "new"]);
    assert_eq!(exchange(&wire, "/added").await, old);
    assert_eq!(exchange(&wire, if slow { "/slow" } else { "/quick" }).await, old);
    if !slow {
        // Parked meanwhile.
        Wire::sleep_on(&wire.env, WORK).await;
    }
    assert!(wire.env.now() > penstock_env::Time::default() + RELOAD);
    assert_eq!(exchange(&wire, "/added").await, ["other", "", ""], "the route answers");
    assert_eq!(exchange(&wire, "/quick").await, new);
}

/// What filters wrote into the answer and the request, and who answered.
async fn exchange(wire: &Wire, path: &str) -> [String; 3] {
    let request = format!("GET {path} HTTP/1.1\r\nHost: sim.test\r\n\r\n");
    wire.write(request.as_bytes(), &Pace::QUICK).await.expect("it is not closed");
    let head = wire.head().await.expect("it is not closed").expect("it is not closed");
    assert!(head.line.starts_with("HTTP/1.1 200 "), "{head:?}");
    let mut body = Expected::anything("client");
    let read = wire.body(head.framing(Framing::Close), &mut body, &Pace::QUICK).await;
    assert_eq!((read, body.passed), (Ok(()), 2));
    ["x-edited", "x-saw", "x-name"].map(|name| head.field(name).unwrap_or_default().to_owned())
}

struct Origin {
    address: Address,
    /// Requests that came here.
    asked: Rc<Cell<usize>>,
    /// Connections that are open.
    open: Rc<Cell<usize>>,
}

impl Origin {
    fn start(world: &World, name: &'static str) -> Origin {
        let (env, asked, open) = (world.node(name, Limits::AMPLE), Rc::default(), Rc::default());
        let origin = Origin { address: env.address(8080), asked, open };
        let (own, asked, open) = (env.clone(), origin.asked.clone(), origin.open.clone());
        env.listen(&origin.address, move |stream| {
            let (env, asked, open) = (own.clone(), asked.clone(), open.clone());
            own.spawn(async move {
                open.set(open.get() + 1);
                answer_all(env, stream, name, &asked).await;
                open.set(open.get() - 1);
            });
        });
        origin
    }
}

async fn answer_all(env: SimEnv, stream: SimStream, name: &str, asked: &Cell<usize>) {
    let wire = Wire::new(env, stream);
    while let Ok(Some(head)) = wire.head().await {
        asked.set(asked.get() + 1);
        let saw = head.field("x-edited").unwrap_or_default();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nx-name: {name}\r\nx-saw: {saw}\r\nContent-Length: 2\r\n\r\no"
        );
        wire.write(answer.as_bytes(), &Pace::QUICK).await.expect("the proxy reads");
        if head.line.contains("/slow") {
            Wire::sleep_on(&wire.env, WORK).await;
        }
        wire.write(b"k", &Pace::QUICK).await.expect("the proxy reads");
    }
}
