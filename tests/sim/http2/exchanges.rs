//! What goes through: every request is answered by its origin, on its own stream.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue};
use penstock_env::{Env, Rng, Timer, TimerExt};
use penstock_tests::sim::{Faults, Limits, SimEnv, World, check_few_seeds, check_some_seeds};

use super::client::{self, Answer};
use crate::http::plan::Text;
use crate::http::wire::Wire;
use crate::proxy::{Proxy, config};

/// The proxy in front of `count` origins, with their counts of requests. They are asked in turn:
/// what is shown of them is that streams are balanced, not how.
fn set(world: &World, count: usize, listener: &str) -> (Proxy, Vec<Rc<Cell<u32>>>) {
    let (mut origins, mut counts) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let env = world.node("origin", Limits::AMPLE);
        let (address, count) = (env.address(8080), Rc::new(Cell::new(0)));
        client::listen(&env, &address, &count);
        origins.push(address);
        counts.push(count);
    }
    let text = config(&origins, listener, "") + "balance = \"round-robin\"\n";
    (Proxy::serve(world, &text), counts)
}

/// Runs the world until `left` is 0, and finds nothing left of what was there.
pub(super) fn run(world: &World, proxy: Proxy, left: &Cell<u32>) {
    let done = || left.get() == 0 || world.panicked().is_some();
    let settled = world.run_until(Duration::from_secs(3600), done);
    assert_eq!(world.panicked(), None, "a task panicked there");
    assert!(settled, "{} without an answer: {:#?}", left.get(), world.leaks());
    proxy.end(world);
}

pub(super) struct Wanted {
    id: u64,
    sends: usize,
    gets: usize,
    chunked: bool,
    early: bool,
    says_length: bool,
    trailers: bool,
}

impl Wanted {
    pub(super) fn draw(rng: &mut Rng) -> Wanted {
        let bytes = |rng: &mut Rng| match rng.below(5) {
            0 => 0,
            1..=3 => rng.below(3_000) as usize,
            _ => rng.below(200_000) as usize,
        };
        Wanted {
            id: rng.next_u64(),
            sends: bytes(rng),
            gets: bytes(rng),
            chunked: rng.below(2) == 0,
            early: rng.below(4) == 0,
            says_length: rng.below(2) == 0,
            trailers: rng.below(4) == 0,
        }
    }

    pub(super) async fn ask(&self, sender: &SendRequest<Bytes>) -> Result<Answer, h2::Error> {
        let (id, gets) = (format!("{:x}", self.id), self.gets.to_string());
        let length = self.sends.to_string();
        let mut fields = vec![("x-id", &*id), ("x-bytes", &*gets), ("te", "trailers")];
        fields.extend(self.chunked.then_some(("x-chunked", "1")));
        fields.extend(self.early.then_some(("x-early", "1")));
        fields.extend(self.says_length.then_some(("content-length", &*length)));
        let ends = self.sends == 0 && !self.trailers;
        let asked = client::request("POST", "/", &fields);
        let (response, mut stream) = client::send(sender, asked, ends).await?;
        let body = Bytes::from(Text::new(self.id, 0).next(self.sends));
        let trailers = self.trailers.then(|| {
            HeaderMap::from_iter([("x-end".parse().expect("a name"), HeaderValue::from(1))])
        });
        if !ends {
            client::send_body(&mut stream, body, trailers).await?;
        }
        client::read(response.await?).await
    }

    /// No body, and a short answer.
    pub(super) fn small(id: u64) -> Wanted {
        let (sends, gets) = (0, 10);
        let (chunked, early, says_length, trailers) = (false, false, true, false);
        Wanted { id, sends, gets, chunked, early, says_length, trailers }
    }

    pub(super) fn judge(&self, answer: &Answer) {
        let field = |name| answer.head.headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(answer.head.status, 200, "{:?}", answer.head);
        let id = format!("{:x}", self.id);
        assert_eq!(field("x-id"), Some(&*id));
        assert_eq!(field("x-got"), Some(&*self.sends.to_string()));
        assert_eq!(field("x-via"), Some("2 penstock"));
        for hop in ["connection", "transfer-encoding", "keep-alive"] {
            assert_eq!(field(hop), None, "RFC 9113 §8.2.2");
        }
        assert_eq!(answer.body.len(), self.gets);
        Text::new(self.id, 1).check("client", &answer.body);
        let tail = answer.trailers.as_ref().and_then(|trailers| trailers.get("x-tail"));
        let tail = tail.and_then(|value| value.to_str().ok());
        assert_eq!(tail, self.chunked.then_some(&*id));
    }
}

fn play(world: &World) {
    let (proxy, _) = set(world, 2, "");
    let env = world.node("client", Limits::AMPLE);
    let (connections, streams) = (1 + world.rng().below(3), 1 + world.rng().below(12));
    let left = Rc::new(Cell::new(connections * streams));
    for number in 0..connections {
        let (own, front, left) = (env.clone(), proxy.front.clone(), left.clone());
        let mut rng = Rng::new(world.seed().wrapping_add(u64::from(number)));
        env.spawn(async move {
            let (sender, _) = client::connect(&own, &front).await;
            for _ in 0..streams {
                let (wanted, sender, left) = (Wanted::draw(&mut rng), sender.clone(), left.clone());
                own.spawn(async move {
                    wanted.judge(&wanted.ask(&sender).await.expect("a whole answer"));
                    left.set(left.get() - 1);
                });
            }
        });
    }
    run(world, proxy, &left);
}

#[test]
fn every_stream_is_answered_by_its_origin() {
    check_some_seeds("h2 streams", Faults::CALM, play);
}

#[test]
fn an_answer_is_logged_with_the_bytes_of_its_head() {
    check_few_seeds("h2 bytes", Faults::CALM, |world| {
        let (proxy, _) = set(world, 1, "");
        let (env, left) = (world.node("client", Limits::AMPLE), Rc::new(Cell::new(1)));
        let (own, told, seen) = (env.clone(), left.clone(), proxy.clone());
        env.spawn(async move {
            let (sender, _) = client::connect(&own, &seen.front).await;
            let answer = Wanted::small(7).ask(&sender).await.expect("a whole answer");
            let fields = answer.head.headers.iter();
            let fields: usize = fields.map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
            // As HTTP/1 would say it.
            let head = "HTTP/1.1 200 OK\r\n".len() + fields + 2;
            let sent = seen.records()[0].bytes_out;
            assert_eq!(sent, (head + answer.body.len()) as u64);
            told.set(0);
        });
        run(world, proxy, &left);
    });
}

/// As `play`, on a network that may break, with streams that are given up: what is answered is
/// answered right, and nothing is left of the rest.
fn play_rough(world: &World) {
    let (proxy, _) = set(world, 2, "");
    let left = ask_roughly(world, &proxy);
    run(world, proxy, &left);
}

/// Clients on connections that may break, with streams that are given up; how many are left.
pub(super) fn ask_roughly(world: &World, proxy: &Proxy) -> Rc<Cell<u32>> {
    let env = world.node("client", Limits::AMPLE);
    let connections = 1 + world.rng().below(4);
    let left = Rc::new(Cell::new(connections));
    for number in 0..connections {
        let (own, front, left) = (env.clone(), proxy.front.clone(), left.clone());
        let mut rng = Rng::new(world.seed().wrapping_add(u64::from(number)));
        env.spawn(async move {
            if let Some((sender, _)) = client::try_connect(&own, &front).await {
                let asking =
                    (0..1 + rng.below(8)).map(|_| ask_for_a_while(&own, &sender, &mut rng));
                let asking: Vec<_> = asking.collect();
                for asked in asking {
                    asked.await;
                }
            }
            left.set(left.get() - 1);
        });
    }
    left
}

/// Asks, and may give up while the answer is on its way.
fn ask_for_a_while(
    env: &SimEnv,
    sender: &SendRequest<Bytes>,
    rng: &mut Rng,
) -> impl Future<Output = ()> + use<> {
    let (wanted, sender, timer) = (Wanted::draw(rng), sender.clone(), env.timer());
    let patience = match rng.below(3) {
        0 => Duration::from_micros(u64::from(rng.below(50_000))),
        _ => Duration::from_secs(300),
    };
    let until = env.now() + patience;
    let done = Rc::new(Cell::new(false));
    let told = done.clone();
    let own = env.clone();
    env.spawn(async move {
        timer.set(until);
        if let Some(Ok(answer)) = timer.race(wanted.ask(&sender)).await {
            // What breaks behind the proxy is answered by it, and says why.
            match answer.head.headers.get("x-penstock-cause") {
                None => wanted.judge(&answer),
                Some(_) => assert!(answer.head.status.is_server_error(), "{:?}", answer.head),
            }
        }
        told.set(true);
    });
    async move {
        while !done.get() {
            Wire::sleep_on(&own, Duration::from_millis(10)).await;
        }
    }
}

#[test]
fn streams_that_are_given_up_or_broken_leave_nothing_behind() {
    check_some_seeds("h2 rough", Faults::ROUGH, play_rough);
}

/// Asks every `wait` until `until`.
async fn ask_steadily(env: SimEnv, proxy: penstock_env::Address, wait: Duration, times: u32) {
    let (sender, _) = client::connect(&env, &proxy).await;
    for id in 0..times {
        Wire::sleep_on(&env, wait).await;
        let id = format!("{id:x}");
        let (response, _) =
            client::send(&sender, client::request("GET", "/", &[("x-id", &id)]), true)
                .await
                .expect("it takes requests");
        let answer = client::read(response.await.expect("an answer")).await.expect("all of it");
        assert_eq!(answer.head.status, 200);
    }
}

/// One connection at 1 request a second, one at 50: by connections, two origins would have
/// nothing, and one nearly everything.
#[test]
fn streams_are_spread_one_by_one_however_unequal_their_connections() {
    check_few_seeds("h2 spread", Faults::CALM, |world| {
        let (proxy, counts) = set(world, 4, "");
        let env = world.node("client", Limits::AMPLE);
        let left = Rc::new(Cell::new(2));
        for (wait_ms, times) in [(1_000, 12), (20, 600)] {
            let (own, front, left) = (env.clone(), proxy.front.clone(), left.clone());
            env.spawn(async move {
                ask_steadily(own, front, Duration::from_millis(wait_ms), times).await;
                left.set(left.get() - 1);
            });
        }
        run(world, proxy, &left);
        let even = 612.0 / 4.0;
        for count in &counts {
            let share = f64::from(count.get()) / even;
            assert!((0.9..=1.1).contains(&share), "{counts:?}");
        }
    });
}

#[test]
fn a_drain_answers_the_streams_under_way_and_ends_the_connection() {
    check_few_seeds("h2 drain", Faults::CALM, |world| {
        let (proxy, counts) = set(world, 1, "");
        let env = world.node("client", Limits::AMPLE);
        let (own, front, left) = (env.clone(), proxy.front.clone(), Rc::new(Cell::new(1)));
        let (told, ended) = (left.clone(), Rc::new(Cell::new(false)));
        let gone = ended.clone();
        env.spawn(async move {
            let (sender, over) = client::connect(&own, &front).await;
            let asked = client::request("POST", "/", &[("x-id", "7"), ("x-bytes", "5000")]);
            let sent = client::send(&sender, asked, false).await;
            let (response, mut stream) = sent.expect("it takes requests");
            Wire::sleep_on(&own, Duration::from_secs(1)).await;
            told.set(0);
            Wire::sleep_on(&own, Duration::from_secs(5)).await;
            assert!(!over.get(), "a stream is under way");
            let body = Bytes::from(Text::new(7, 0).next(3_000));
            client::send_body(&mut stream, body, None).await.expect("it takes the body");
            let answer = client::read(response.await.expect("an answer")).await.expect("all of it");
            assert_eq!((answer.head.status.as_u16(), answer.body.len()), (200, 5_000));
            Wire::sleep_on(&own, Duration::from_secs(5)).await;
            gone.set(over.get());
        });
        run(world, proxy, &left);
        assert_eq!(counts[0].get(), 1);
        assert!(ended.get(), "the connection ends with its last stream");
    });
}

#[test]
fn an_idle_connection_is_told_to_go() {
    check_few_seeds("h2 idle", Faults::CALM, |world| {
        let (proxy, _) = set(world, 1, "timeouts.keep_alive = \"3s\"\n");
        let env = world.node("client", Limits::AMPLE);
        let (own, front, left) = (env.clone(), proxy.front.clone(), Rc::new(Cell::new(1)));
        let told = left.clone();
        env.spawn(async move {
            let (_sender, over) = client::connect(&own, &front).await;
            Wire::sleep_on(&own, Duration::from_secs(2)).await;
            assert!(!over.get());
            Wire::sleep_on(&own, Duration::from_secs(4)).await;
            assert!(over.get());
            told.set(0);
        });
        run(world, proxy, &left);
    });
}
