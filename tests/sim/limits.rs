//! A cluster's limits: how many requests and connections an origin sees at a time, who waits, and
//! who is turned away.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use penstock_env::Env;
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, SimEnv, SimStream, World, check_few_seeds};

use crate::http::plan::Pace;
use crate::http::wire::Wire;
use crate::proxy::{Proxy, config};

/// How long an origin takes: far longer than it takes all clients to ask.
const WORK: Duration = Duration::from_secs(5);

/// What the origins saw at one time, at most.
#[derive(Clone, Default)]
struct Seen {
    connections: Peak,
    requests: Peak,
}

#[derive(Clone, Default)]
struct Peak(Rc<Cell<(u32, u32)>>);

impl Peak {
    fn enter(&self) -> Within {
        let (now, most) = self.0.get();
        self.0.set((now + 1, most.max(now + 1)));
        Within(self.clone())
    }

    fn most(&self) -> u32 {
        self.0.get().1
    }
}

struct Within(Peak);

impl Drop for Within {
    fn drop(&mut self) {
        let (now, most) = self.0.0.get();
        self.0.0.set((now - 1, most));
    }
}

/// `clients` ask at once, with `cluster` in the cluster's block and `origins` endpoints. How
/// often each status came with each cause, and what the origins saw.
fn crowd(
    world: &World,
    cluster: &str,
    origins: usize,
    clients: usize,
) -> (Vec<(u16, String)>, Vec<Seen>) {
    let (mut addresses, mut seen) = (Vec::new(), Vec::new());
    for _ in 0..origins {
        let (env, saw) = (world.node("origin", Limits::AMPLE), Seen::default());
        let (own, address) = (env.clone(), env.address(8080));
        seen.push(saw.clone());
        env.listen(&address, move |stream| own.spawn(work(own.clone(), stream, saw.clone())));
        addresses.push(address);
    }
    let proxy = Proxy::serve(world, &(config(&addresses, "", "") + cluster));
    let answers = Rc::new(RefCell::new(Vec::new()));
    let client = world.node("client", Limits::AMPLE);
    for _ in 0..clients {
        client.spawn(ask(client.clone(), proxy.clone(), answers.clone()));
    }
    let all = || answers.borrow().len() == clients;
    assert!(world.run_until(Duration::from_secs(600), all), "{:#?}", world.leaks());
    proxy.end(world);
    let mut answers = answers.take();
    answers.sort();
    (answers, seen)
}

async fn work(env: SimEnv, stream: SimStream, seen: Seen) {
    let _connection = seen.connections.enter();
    let wire = Wire::new(env, stream);
    while let Ok(Some(_)) = wire.head().await {
        let request = seen.requests.enter();
        Wire::sleep_on(&wire.env, WORK).await;
        drop(request);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        if wire.write(answer, &Pace::QUICK).await.is_err() {
            return;
        }
    }
}

async fn ask(env: SimEnv, proxy: Proxy, answers: Rc<RefCell<Vec<(u16, String)>>>) {
    let stream = Wire::connect(&env, &proxy.front).await.expect("the proxy listens");
    drop(proxy);
    let wire = Wire::new(env, stream);
    let request = b"GET / HTTP/1.1\r\nHost: sim.test\r\n\r\n";
    wire.write(request, &Pace::QUICK).await.expect("the proxy reads");
    let head = wire.head().await.expect("the proxy answers").expect("it has an answer");
    let status = head.line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let cause = head.field("x-penstock-cause").unwrap_or_default().to_owned();
    answers.borrow_mut().push((status.expect("a status line"), cause));
}

#[track_caller]
fn check(
    cluster: &str,
    (origins, clients): (usize, usize),
    answered: usize,
    refused: &[Cause],
    look: impl Fn(&[Seen]) + Sync,
) {
    check_few_seeds(cluster, Faults::CALM, |world| {
        let (answers, seen) = crowd(world, cluster, origins, clients);
        let mut expected = vec![(200, String::new()); answered];
        expected.extend(refused.iter().map(|cause| (503, cause.name().to_owned())));
        assert_eq!(answers, expected);
        look(&seen);
    });
}

#[test]
fn as_many_requests_wait_as_may_and_the_others_are_turned_away() {
    let full = Cause::ClusterFull;
    let cluster = "limits = { requests = 2, queued = 1 }\ntimeouts.queue = \"30s\"\n";
    check(cluster, (1, 6), 3, &[full; 3], |seen| assert_eq!(seen[0].requests.most(), 2));
    let cluster = "limits = { requests = 2, queued = 0 }\ntimeouts.queue = \"30s\"\n";
    check(cluster, (1, 4), 2, &[full; 2], |seen| assert_eq!(seen[0].requests.most(), 2));
}

#[test]
fn who_waits_too_long_is_turned_away() {
    let cluster = "limits = { requests = 2, queued = 1 }\ntimeouts.queue = \"2s\"\n";
    let refused = [Cause::ClusterFull, Cause::ClusterFull, Cause::QueueTimeout];
    check(cluster, (1, 5), 2, &refused, |seen| assert_eq!(seen[0].requests.most(), 2));
}

#[test]
fn an_endpoint_has_no_more_requests_than_it_may() {
    let cluster = "limits = { requests_per_endpoint = 1 }\ntimeouts.queue = \"60s\"\n";
    check(cluster, (2, 6), 6, &[], |seen| {
        assert_eq!(seen.iter().map(|seen| seen.requests.most()).collect::<Vec<_>>(), [1, 1]);
    });
}

#[test]
fn a_connection_that_is_free_again_serves_who_waits_for_one() {
    let cluster = "limits = { connections = 2 }\ntimeouts.queue = \"60s\"\n";
    check(cluster, (1, 6), 6, &[], |seen| assert_eq!(seen[0].connections.most(), 2));
}
