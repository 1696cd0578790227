//! Services of datagrams between clients and endpoints of the simulated world.
//!
//! Whatever happens: an answer comes to who asked, once for each question; the questions of a flow
//! go to one endpoint as long as that is there; and flows that are silent end, with all counts
//! back to zero.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::slice;
use std::time::Duration;

use penstock_env::{Address, Datagrams, DatagramsExt, Env, Replies, Timer, TimerExt};
use penstock_proxy::Cause;
use penstock_tests::sim::{Death, Faults, Limits, Path, SimEnv, World, check_few_seeds};
use penstock_wire::proxy_protocol::{Addresses, Parsed, parse, write_v2_for_datagrams};

use crate::proxy::Proxy;

/// A service in front of these, with more for itself and for its cluster.
fn config(endpoints: &[Address], service: &str, cluster: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|one| format!("\"{one}\"")).collect();
    format!(
        "[service.s]\nvip = \"10.9.9.9\"\nports = \"udp/80\"\nto = \"c\"\n{service}\n\
         [cluster.c]\nendpoints = [{}]\n{cluster}\n",
        endpoints.join(", ")
    )
}

/// An endpoint that sends everything back, with its number in front.
fn endpoint(world: &World, number: u8) -> (SimEnv, Address) {
    let env = world.node("endpoint", Limits::AMPLE);
    let address = env.address(9_000);
    env.bind_datagrams(&address, move |replies, ends, datagrams| {
        for datagram in datagrams {
            replies.send(&ends, &[&[&[number], *datagram].concat()]);
        }
    });
    (env, address)
}

fn endpoints(world: &World, count: u8) -> (Vec<SimEnv>, Vec<Address>) {
    (0..count).map(|number| endpoint(world, number)).unzip()
}

/// What a client has seen.
#[derive(Default)]
struct Notes {
    asked: Cell<u32>,
    /// Endpoint and question of each answer.
    answers: RefCell<Vec<(u8, u32)>>,
    is_done: Cell<bool>,
}

impl Notes {
    fn endpoints(&self) -> Vec<u8> {
        let mut all: Vec<_> = self.answers.borrow().iter().map(|(endpoint, _)| *endpoint).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Asks `questions` times by one socket, at times of its own choice, and hears what comes.
fn client(world: &World, name: u32, proxy: &Proxy, questions: u32, pause_ms: u32) -> Rc<Notes> {
    let env = world.node("client", Limits::AMPLE);
    client_at(world, &env, name, proxy, (questions, pause_ms))
}

/// The same, at this address.
fn client_at(
    world: &World,
    env: &SimEnv,
    name: u32,
    proxy: &Proxy,
    (questions, pause_ms): (u32, u32),
) -> Rc<Notes> {
    let (env, front) = (env.clone(), &proxy.front);
    let socket = env.open_datagrams(front, None).expect("there are ports");
    let (notes, mut rng) = (Rc::new(Notes::default()), world.rng());
    let seen = Rc::clone(&notes);
    env.clone().spawn(async move {
        let timer = env.timer();
        let heard = |answer: &&[u8]| {
            let [endpoint, a, b, c, d, e, f, g, h] = **answer else { panic!("{answer:?}") };
            assert_eq!(u32::from_be_bytes([a, b, c, d]), name, "somebody else's");
            let question = u32::from_be_bytes([e, f, g, h]);
            let mut answers = seen.answers.borrow_mut();
            assert!(answers.iter().all(|(_, other)| *other != question), "twice: {question}");
            assert!(question < seen.asked.get(), "never asked: {question}");
            answers.push((endpoint, question));
        };
        for question in 0..questions {
            seen.asked.set(question + 1);
            socket.send(&[&[name.to_be_bytes(), question.to_be_bytes()].concat()]);
            timer.set(env.now() + Duration::from_millis(u64::from(1 + rng.below(pause_ms))));
            let hear = || socket.receive(|answers| answers.iter().for_each(heard));
            while let Some(Ok(())) = timer.race(hear()).await {}
        }
        timer.set(env.now() + Duration::from_secs(2));
        let hear = || socket.receive(|answers| answers.iter().for_each(heard));
        while timer.race(hear()).await.is_some() {}
        seen.is_done.set(true);
    });
    notes
}

/// Runs until all clients are done.
fn settle(world: &World, clients: &[Rc<Notes>]) {
    let done = || clients.iter().all(|notes| notes.is_done.get()) || world.panicked().is_some();
    assert!(world.run_until(Duration::from_secs(3_600), done), "{:#?}", world.leaks());
    assert_eq!(world.panicked(), None, "a task panicked there");
}

#[test]
fn every_question_is_answered_to_who_asked_by_the_endpoint_of_its_flow() {
    check_few_seeds("datagrams, calm", Faults::CALM, |world| {
        let (_nodes, addresses) = endpoints(world, 3);
        let algorithm = ["", "balance = \"maglev\"", "balance = \"round-robin\""];
        let algorithm = algorithm[world.rng().below(3) as usize];
        let proxy = Proxy::serve_on(world, &[config(&addresses, "", algorithm)], 2);
        let clients: Vec<_> = (0..12).map(|name| client(world, name, &proxy, 20, 300)).collect();
        let reloading = proxy.clone();
        world.after(Duration::from_secs(1), move |_| reloading.reload());
        settle(world, &clients);
        for notes in &clients {
            assert_eq!(notes.answers.borrow().len(), 20);
            assert_eq!(notes.endpoints().len(), 1, "{:?}", notes.answers.borrow());
        }
        // Of 8 bytes up and 9 down, with its endpoint's number.
        assert_eq!(proxy.service_bytes(), (12 * 20 * 8, 12 * 20 * 9));
        assert_eq!(proxy.failures(), []);
        proxy.end(world);
    });
}

#[test]
fn a_network_that_loses_datagrams_mixes_none_up() {
    check_few_seeds("datagrams, rough", Faults::ROUGH, |world| {
        let (_nodes, addresses) = endpoints(world, 3);
        let proxy = Proxy::serve(world, &config(&addresses, "", ""));
        let clients: Vec<_> = (0..12).map(|name| client(world, name, &proxy, 20, 300)).collect();
        settle(world, &clients);
        let answered: usize = clients.iter().map(|notes| notes.answers.borrow().len()).sum();
        // A tenth is lost on each of four ways.
        assert!((80..240).contains(&answered), "{answered}");
        assert!(clients.iter().all(|notes| notes.endpoints().len() <= 1));
        proxy.end(world);
    });
}

#[test]
fn a_flow_leaves_an_endpoint_that_is_said_to_be_gone() {
    check_few_seeds("datagrams, gone", Faults::NONE, |world| {
        let (nodes, addresses) = endpoints(world, 2);
        let proxy = Proxy::serve(world, &config(&addresses, "", ""));
        let clients: Vec<_> = (0..8).map(|name| client(world, name, &proxy, 40, 200)).collect();
        let dying = nodes[0].clone();
        world.after(Duration::from_secs(1), move |world| world.kill(&dying, Death::Reset));
        settle(world, &clients);
        let moved = clients.iter().filter(|notes| notes.endpoints().len() == 2).count();
        assert!((1..8).contains(&moved), "{moved} of 8 have had both endpoints");
        for notes in &clients {
            let answers = notes.answers.borrow();
            // What was under way, and what told us: two at the most.
            assert!(answers.len() >= 38, "{} of 40", answers.len());
            assert_eq!(answers.last().map(|(endpoint, _)| *endpoint), Some(1));
        }
        let failed = proxy.tries_failed();
        assert!(
            matches!(failed[..], [(Cause::ConnectRefused, count)] if count as usize == moved),
            "{failed:?}, {moved} moved"
        );
        assert_eq!(proxy.failures(), []);
        proxy.end(world);
    });
}

#[test]
fn where_nobody_is_there_flows_end_with_that_cause() {
    check_few_seeds("datagrams, nobody", Faults::NONE, |world| {
        let (_nodes, addresses) = endpoints(world, 2);
        addresses.iter().for_each(|address| world.set_path(address, Path::Refused));
        let proxy = Proxy::serve(world, &config(&addresses, "", ""));
        let clients = [client(world, 1, &proxy, 3, 100)];
        settle(world, &clients);
        assert_eq!(clients[0].answers.borrow().len(), 0);
        let failures = proxy.failures();
        let refused = failures.iter().find(|(cause, _)| *cause == Cause::ConnectRefused);
        assert!(refused.is_some(), "{failures:?}");
        proxy.end(world);
    });
}

#[test]
fn no_more_flows_than_the_limit_and_those_that_went_on_stay() {
    check_few_seeds("datagrams, limit", Faults::NONE, |world| {
        let (_nodes, addresses) = endpoints(world, 1);
        let limits = "limits = { connections = 2 }\ntimeouts = { datagram = \"20s\" }";
        let proxy = Proxy::serve(world, &config(&addresses, limits, ""));
        // Who asks once and is answered has no more of its flow; the third has the first's place.
        let clients: Vec<_> = (0..3).map(|name| client(world, name, &proxy, 1, 10)).collect();
        settle(world, &clients);
        assert!(clients.iter().all(|one| one.answers.borrow().len() == 1));
        assert_eq!((proxy.service_connections(), proxy.failures()), (2, vec![]));
        // Those that go on after an answer stay, and others have to wait.
        let busy: Vec<_> = (4..6).map(|name| client(world, name, &proxy, 20, 2_000)).collect();
        world.run(Duration::from_secs(5));
        let late = client(world, 7, &proxy, 1, 10);
        settle(world, slice::from_ref(&late));
        assert_eq!((late.answers.borrow().len(), proxy.service_connections()), (0, 2));
        assert_eq!(proxy.failures(), [(Cause::ConnectionsMax, 1)]);
        settle(world, &busy);
        assert!(busy.iter().all(|one| one.answers.borrow().len() == 20));
        world.run(Duration::from_secs(22));
        assert_eq!(proxy.service_connections(), 0);
        proxy.end(world);
    });
}

/// An endpoint that answers only those who ask as `client` does, and how many others it heard.
fn choosy_endpoint(world: &World) -> Address {
    let env = world.node("endpoint", Limits::AMPLE);
    let address = env.address(9_000);
    env.bind_datagrams(&address, move |replies, ends, datagrams| {
        for datagram in datagrams.iter().filter(|datagram| datagram.len() == 8) {
            replies.send(&ends, &[&[&[0], *datagram].concat()]);
        }
    });
    address
}

#[test]
fn flows_that_nothing_answers_keep_nobody_out() {
    check_few_seeds("datagrams, unanswered", Faults::NONE, |world| {
        let cluster = "limits = { connections = 40 }";
        let proxy = Proxy::serve_on(world, &[config(&[choosy_endpoint(world)], "", cluster)], 2);
        let known: Vec<_> = (0..8).map(|name| client(world, name, &proxy, 20, 500)).collect();
        world.run(Duration::from_secs(2));
        let (attacker, mut held) = (world.node("attacker", Limits::AMPLE), Vec::new());
        for round in 0..10 {
            for _ in 0..20 {
                let socket = attacker.open_datagrams(&proxy.front, None).expect("there are ports");
                socket.send(&[b"x"]);
                held.push(socket);
            }
            world.run(Duration::from_millis(200));
            let new = client(world, 100 + round, &proxy, 3, 100);
            settle(world, slice::from_ref(&new));
            assert_eq!(new.answers.borrow().len(), 3, "after {round} rounds");
        }
        settle(world, &known);
        assert!(known.iter().all(|one| one.answers.borrow().len() == 20));
        let failures = proxy.failures();
        // Ten of them had a place on each shard at the end.
        let gave_way = |(cause, count): &(Cause, u64)| *cause == Cause::FlowGaveWay && *count > 100;
        assert!(failures.len() == 1 && failures.iter().all(gave_way), "{failures:?}");
        drop(held);
        proxy.end(world);
    });
}

#[test]
fn flows_in_a_clients_name_that_nothing_answers_do_not_keep_it_out() {
    check_few_seeds("datagrams, a source", Faults::NONE, |world| {
        let limits = "limits = { connections_per_source = 4 }";
        let proxy = Proxy::serve(world, &config(&[choosy_endpoint(world)], limits, ""));
        let env = world.node("client", Limits::AMPLE);
        let open = || env.open_datagrams(&proxy.front, None).expect("there are ports");
        let sockets: Vec<_> = (0..20).map(|_| open()).collect();
        for socket in &sockets {
            socket.send(&[b"x"]);
        }
        world.run(Duration::from_secs(1));
        let own = client_at(world, &env, 1, &proxy, (3, 100));
        settle(world, slice::from_ref(&own));
        assert_eq!(own.answers.borrow().len(), 3);
        assert_eq!(proxy.failures(), [(Cause::FlowGaveWay, 17)]);
        drop(sockets);
        proxy.end(world);
    });
}

/// An endpoint that asks of each datagram who it is from, by the header in front of it, and answers
/// as the others do.
fn asking_endpoint(world: &World) -> (SimEnv, Address, Rc<RefCell<BTreeSet<SocketAddr>>>) {
    let env = world.node("endpoint", Limits::AMPLE);
    let (address, seen) = (env.address(9_000), Rc::new(RefCell::new(BTreeSet::new())));
    let told = Rc::clone(&seen);
    env.bind_datagrams(&address, move |replies, ends, datagrams| {
        for datagram in datagrams {
            let Ok(Parsed::Complete(header)) = parse(datagram) else { panic!("{datagram:?}") };
            // Of UDP over IPv4 or IPv6 (PROXY protocol §2.2).
            assert!(matches!(datagram[13], 0x12 | 0x22), "{datagram:?}");
            told.borrow_mut().insert(header.addresses.expect("they are said").source);
            replies.send(&ends, &[&[&[0], &datagram[header.bytes..]].concat()]);
        }
    });
    (env, address, seen)
}

#[test]
fn each_datagram_says_who_it_is_from() {
    check_few_seeds("datagrams, introduced to endpoints", Faults::CALM, |world| {
        let (_node, address, seen) = asking_endpoint(world);
        let more = "send_proxy_protocol = \"v2\"";
        let proxy = Proxy::serve(world, &config(&[address], more, ""));
        let clients: Vec<_> = (0..6).map(|name| client(world, name, &proxy, 20, 300)).collect();
        settle(world, &clients);
        assert!(clients.iter().all(|notes| notes.answers.borrow().len() == 20));
        // Headers are not what was carried.
        assert_eq!(proxy.service_bytes(), (6 * 20 * 8, 6 * 20 * 9));
        let sources: BTreeSet<IpAddr> = seen.borrow().iter().map(|source| source.ip()).collect();
        assert_eq!((seen.borrow().len(), sources.len()), (6, 6), "{seen:?}");
        assert_eq!(proxy.failures(), []);
        proxy.end(world);
    });
}

#[test]
fn a_proxy_before_us_says_of_each_datagram_who_it_is_from() {
    check_few_seeds("datagrams, introduced to us", Faults::CALM, |world| {
        let (_node, address, seen) = asking_endpoint(world);
        let more = "proxy_protocol = { from = [\"0.0.0.0/0\", \"::/0\"] }\n\
                    send_proxy_protocol = \"v2\"";
        let proxy = Proxy::serve(world, &config(&[address], more, ""));
        let env = world.node("proxy", Limits::AMPLE);
        let socket = env.open_datagrams(&proxy.front, None).expect("there are ports");
        let said = |number: u8| SocketAddr::from(([192, 0, 2, number], 5_000));
        // Four clients by turns through one socket, and one that says nothing of itself.
        for turn in 0..20_u8 {
            let mut question = Vec::new();
            let destination = SocketAddr::from(([198, 51, 100, 1], 53));
            let addresses = Addresses { source: said(turn % 4), destination };
            write_v2_for_datagrams(addresses, &mut question);
            question.push(turn);
            socket.send(&[&question]);
        }
        socket.send(&[b"nobody's"]);
        let answers = Rc::new(RefCell::new(Vec::new()));
        let heard = Rc::clone(&answers);
        env.clone().spawn(async move {
            let timer = env.timer();
            timer.set(env.now() + Duration::from_secs(5));
            let hear = || {
                socket.receive(|all| {
                    heard.borrow_mut().extend(all.iter().map(|answer| answer.to_vec()));
                })
            };
            while timer.race(hear()).await.is_some() {}
        });
        world.run(Duration::from_secs(2));
        assert_eq!(proxy.service_connections(), 4);
        world.run(Duration::from_secs(60));
        let mut answers = answers.take();
        answers.sort();
        assert_eq!(answers, (0..20).map(|turn| vec![0, turn]).collect::<Vec<_>>());
        assert_eq!(*seen.borrow(), (0..4).map(said).collect());
        assert_eq!(proxy.failures(), [(Cause::ProxyHeaderInvalid, 1)]);
        proxy.end(world);
    });
}

#[test]
fn endpoints_of_a_transparent_service_see_the_clients_address() {
    check_few_seeds("datagrams, transparent", Faults::CALM, |world| {
        let env = world.node("endpoint", Limits::AMPLE);
        let (address, seen) = (env.address(9_000), Rc::new(RefCell::new(BTreeSet::new())));
        let met = Rc::clone(&seen);
        env.bind_datagrams(&address, move |replies, ends, datagrams| {
            met.borrow_mut().insert(ends.peer.ip());
            for datagram in datagrams {
                replies.send(&ends, &[&[&[0], *datagram].concat()]);
            }
        });
        let proxy = Proxy::serve(world, &config(&[address], "transparent = true", ""));
        let clients: Vec<_> = (0..6).map(|name| client(world, name, &proxy, 20, 300)).collect();
        settle(world, &clients);
        assert!(clients.iter().all(|notes| notes.answers.borrow().len() == 20));
        assert_eq!(seen.borrow().len(), 6, "a client each: {seen:?}");
        assert_eq!(proxy.failures(), []);
        proxy.end(world);
    });
}

#[test]
fn a_drain_lets_answers_come_and_ends_flows_soon() {
    check_few_seeds("datagrams, drain", Faults::NONE, |world| {
        let (_nodes, addresses) = endpoints(world, 1);
        let proxy = Proxy::serve(world, &config(&addresses, "", ""));
        let clients = [client(world, 1, &proxy, 1, 10)];
        settle(world, &clients);
        assert_eq!(proxy.service_connections(), 1);
        let begun = world.now();
        proxy.rest(world);
        let took = world.now().since(begun);
        assert!(took < Duration::from_secs(10), "{took:?}");
        drop(proxy);
        world.finish(Duration::from_secs(600));
    });
}
