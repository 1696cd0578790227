//! How many connections the appliance has, over all shards: who is refused, and what gives way.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, Env, StreamExt};
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, SimEnv, SimStream, World, check_few_seeds};

use crate::http::plan::Pace;
use crate::http::wire::Wire;
use crate::proxy::{Proxy, config};

const SECOND: Duration = Duration::from_secs(1);

/// Lets so much time pass, whether or not anything happens at its end.
fn pass(world: &World, time: Duration) {
    world.after(time, |_| {});
    world.run(time);
}

/// An origin that answers, and keeps its connections.
fn origin(world: &World) -> Address {
    let env = world.node("origin", Limits::AMPLE);
    let (own, address) = (env.clone(), env.address(8080));
    env.listen(&address, move |stream| own.spawn(serve(own.clone(), stream)));
    address
}

async fn serve(env: SimEnv, stream: SimStream) {
    let wire = Wire::new(env, stream);
    while let Ok(Some(_)) = wire.head().await {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        if wire.write(answer, &Pace::QUICK).await.is_err() {
            return;
        }
    }
}

/// What became of each connection: whether it was still there after a second, and the status that
/// its request was answered with then.
type Fates = Rc<RefCell<Vec<(bool, Option<u16>)>>>;

/// Connects `count` times from a node of its own, one connection every 100 ms; asks on those that
/// are left when all of them have stood for a second, and closes them when `leave` says so.
fn crowd(world: &World, front: &Address, count: u32, leave: &Rc<Cell<bool>>) -> Fates {
    let (env, fates) = (world.node("client", Limits::AMPLE), Fates::default());
    for number in 0..count {
        let (own, front, fates, leave) = (env.clone(), front.clone(), fates.clone(), leave.clone());
        env.spawn(async move {
            Wire::sleep_on(&own, SECOND / 10 * number).await;
            let stream = Wire::connect(&own, &front).await.expect("somebody listens");
            Wire::sleep_on(&own, SECOND / 10 * (count - number) + SECOND).await;
            let wire = Wire::new(own, stream);
            let status = exchange(&wire).await;
            fates.borrow_mut().push((status.is_some(), status));
            while !leave.get() {
                Wire::sleep_on(&wire.env, SECOND / 10).await;
            }
        });
    }
    fates
}

/// The status that a request is answered with; none on a connection that was closed.
async fn exchange(wire: &Wire) -> Option<u16> {
    let request = b"GET /a HTTP/1.1\r\nHost: sim.test\r\n\r\n";
    wire.write(request, &Pace::QUICK).await.ok()?;
    wire.stream.sent().await.ok()?;
    let head = wire.head().await.ok()??;
    head.line.split(' ').nth(1)?.parse().ok()
}

fn settle(world: &World, fates: &Fates, count: usize) -> (usize, usize) {
    let all = || fates.borrow().len() == count;
    assert!(world.run_until(600 * SECOND, all), "{:#?}", world.leaks());
    let served = fates.borrow().iter().filter(|(_, status)| *status == Some(200)).count();
    (served, fates.borrow().iter().filter(|(there, _)| !there).count())
}

#[test]
fn over_its_limit_the_appliance_refuses_connections_and_serves_what_it_has() {
    check_few_seeds("capacity, all", Faults::CALM, |world| {
        let text = config(&[origin(world)], "", "[runtime]\nconnections_max = 5\n");
        let wider = text.replace("connections_max = 5", "connections_max = 50");
        let (first, second) = (Rc::default(), Rc::default());
        let proxy = Proxy::serve_on(world, &[text, wider], 3);
        // Whoever was let in is served, although that takes more connections than five.
        let fates = crowd(world, &proxy.front, 9, &first);
        assert_eq!(settle(world, &fates, 9), (5, 4));
        assert_eq!(proxy.failures(), [(Cause::ConnectionsMax, 4)]);
        // Another config lets more in at once.
        proxy.reload();
        let fates = crowd(world, &proxy.front, 9, &second);
        assert_eq!(settle(world, &fates, 9), (9, 0));
        assert_eq!(proxy.failures(), [(Cause::ConnectionsMax, 4)]);
        [first, second].iter().for_each(|leave| leave.set(true));
        pass(world, SECOND);
        proxy.end(world);
    });
}

#[test]
fn unused_upstream_connections_give_way_to_who_wants_in() {
    check_few_seeds("capacity, pool", Faults::CALM, |world| {
        let text = config(&[origin(world)], "", "[runtime]\nconnections_max = 4\n");
        let proxy = Proxy::serve(world, &text);
        let leave = Rc::new(Cell::new(false));
        let fates = crowd(world, &proxy.front, 2, &leave);
        assert_eq!(settle(world, &fates, 2), (2, 0));
        pass(world, SECOND);
        let unused = proxy.pooled_count();
        assert!((1..=2).contains(&unused), "{unused}");
        // Two are there and up to two unused: the next two still come in, the third does not.
        let fates = crowd(world, &proxy.front, 3, &leave);
        assert_eq!(settle(world, &fates, 3), (2, 1));
        leave.set(true);
        pass(world, SECOND);
        proxy.end(world);
    });
}

#[test]
fn a_source_is_counted_over_all_shards_and_by_itself() {
    check_few_seeds("capacity, sources", Faults::CALM, |world| {
        let limits = "limits.connections_per_source = 4\n";
        let proxy = Proxy::serve_on(world, &[config(&[origin(world)], limits, "")], 3);
        let leave = Rc::new(Cell::new(false));
        let crowds = [7, 3, 5].map(|count| (crowd(world, &proxy.front, count, &leave), count));
        let settled = crowds.map(|(fates, count)| settle(world, &fates, count as usize));
        assert_eq!(settled, [(4, 3), (3, 0), (4, 1)]);
        assert_eq!(proxy.failures(), [(Cause::SourceConnectionsMax, 4)]);
        leave.set(true);
        pass(world, SECOND);
        // What they had is free again.
        let fates = crowd(world, &proxy.front, 4, &leave);
        assert_eq!(settle(world, &fates, 4), (4, 0));
        proxy.end(world);
    });
}
