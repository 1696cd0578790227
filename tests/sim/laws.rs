//! What `Env` promises, held against the simulated world. A part of it is asked of the shard, in
//! its `tests/echo.rs`.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{
    Address, Chunk, CloseKind, Env, SendBuf, Stream, StreamExt, Time, Timer, TimerExt, Wake,
};
use penstock_tests::sim::{Faults, Limits, Path, SimEnv, SimStream, World, check_few_seeds};

/// Two nodes; `near` runs on the one with the connecting end, `far` with the accepted one.
fn check_pair<N, F>(name: &str, limits: Limits, near: N, far: F)
where
    N: AsyncFn(SimEnv, SimStream) + Copy + Sync + 'static,
    F: AsyncFn(SimEnv, SimStream) + Copy + Sync + 'static,
{
    check_few_seeds(name, Faults::CALM, |world| {
        let (left, right) = (world.node("near", limits), world.node("far", limits));
        let address = right.address(80);
        let env = right.clone();
        right.listen(&address, move |stream| {
            let env = env.clone();
            env.clone().spawn(async move { far(env, stream).await });
        });
        let env = left.clone();
        left.spawn(async move {
            let stream = env.connect(&address).await.expect("somebody listens");
            near(env, stream).await;
        });
        world.finish(Duration::from_secs(300));
    });
}

async fn say(env: &SimEnv, stream: &SimStream, bytes: &[u8]) {
    let mut data = SendBuf::new(env.buffer());
    data.push(bytes);
    stream.send(data).await.expect("the peer is there");
}

/// Everything up to the end or an error; in small lent pieces.
async fn hear(stream: &SimStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut all = Vec::new();
    loop {
        match stream.recv().await {
            Ok(Some(chunk)) => all.extend_from_slice(&chunk),
            Ok(None) => return (all, None),
            Err(error) => return (all, Some(error.kind())),
        }
    }
}

#[test]
fn a_direction_that_has_ended_leaves_the_other_one_open() {
    check_pair(
        "half-close",
        Limits::AMPLE,
        async |env, stream| {
            say(&env, &stream, b"question").await;
            stream.sent().await.expect("sent");
            stream.shutdown_write();
            assert_eq!(hear(&stream).await, (b"answer".to_vec(), None));
            // Told again on every later call.
            assert_eq!(hear(&stream).await, (Vec::new(), None));
        },
        async |env, stream| {
            assert_eq!(hear(&stream).await, (b"question".to_vec(), None));
            say(&env, &stream, b"answer").await;
        },
    );
}

#[test]
fn a_stream_that_is_dropped_sends_what_was_given_to_it() {
    check_pair(
        "drop after send",
        Limits::AMPLE,
        async |env, stream| say(&env, &stream, &[7; 9000]).await,
        async |_, stream| assert_eq!(hear(&stream).await, (vec![7; 9000], None)),
    );
}

#[test]
fn a_reset_is_an_error_at_the_peer_and_stays_one() {
    check_pair(
        "reset",
        Limits::AMPLE,
        async |env, stream| {
            say(&env, &stream, b"half a mess").await;
            stream.close(CloseKind::Reset);
        },
        async |_, stream| {
            let (bytes, error) = hear(&stream).await;
            assert!(b"half a mess".starts_with(&bytes));
            assert_eq!(error, Some(ErrorKind::ConnectionReset));
            assert_eq!(hear(&stream).await.1, Some(ErrorKind::ConnectionReset));
            assert!(stream.sent().await.is_err());
        },
    );
}

#[test]
fn whoever_sends_to_a_closed_stream_is_reset() {
    check_pair(
        "send to closed",
        Limits::AMPLE,
        async |env, stream| {
            stream.recv().await.expect("no error yet");
            for _ in 0..100 {
                let mut data = SendBuf::new(env.buffer());
                data.push(&[1; 1000]);
                if stream.sent().await.is_err() {
                    return;
                }
                stream.start_send(data);
                let timer = env.timer();
                timer.set(env.now() + Duration::from_millis(50));
                timer.expired().await;
            }
            panic!("100 kB went to nobody");
        },
        async |_, stream| drop(stream),
    );
}

#[test]
fn unread_bytes_come_first_again() {
    check_pair(
        "unread",
        Limits::AMPLE,
        async |env, stream| say(&env, &stream, b"0123456789").await,
        async |_, stream| {
            let mut all = Vec::new();
            while let Some(mut chunk) = stream.recv().await.expect("no error") {
                // A chunk of nothing that is put back comes again as well.
                if let Some(&first) = chunk.first() {
                    all.push(first);
                    chunk.advance(1);
                    stream.unread(chunk);
                }
            }
            assert_eq!(all, b"0123456789");
        },
    );
}

#[test]
fn a_reader_that_does_not_read_stops_the_writer() {
    check_pair(
        "back-pressure",
        Limits { lent_max: 8, lent_bytes_max: 512, read_ahead_max: 2, copies: false },
        async |env, stream| {
            let mut data = SendBuf::new(env.buffer());
            data.push(&vec![3; 300_000]);
            stream.start_send(data);
            let timer = env.timer();
            timer.set(env.now() + Duration::from_secs(5));
            timer.expired().await;
            // Two socket buffers of at most 64 KiB took some; nothing else may.
            let stuck = stream.unsent_bytes();
            assert!((300_000 - 2 * 65_536 - 8 * 512..300_000).contains(&stuck), "{stuck}");
            stream.sent().await.expect("it was read after all");
            assert_eq!(stream.unsent_bytes(), 0);
        },
        async |env, stream| {
            let timer = env.timer();
            timer.set(env.now() + Duration::from_secs(10));
            timer.expired().await;
            assert_eq!(hear(&stream).await.0.len(), 300_000);
        },
    );
}

#[test]
fn receives_wait_for_lent_buffers_to_come_back() {
    let limits = Limits { lent_max: 2, lent_bytes_max: 64, read_ahead_max: 0, copies: false };
    check_pair(
        "starved",
        limits,
        async |env, stream| {
            say(&env, &stream, &[9; 1000]).await;
        },
        async |env, stream| {
            let mut held = Vec::new();
            for _ in 0..2 {
                held.extend(stream.recv().await.expect("no error"));
            }
            let timer = env.timer();
            timer.set(env.now() + Duration::from_secs(1));
            let third = timer.race(stream.recv()).await;
            assert!(third.is_none(), "there are only two buffers");
            assert_eq!(env.lent_count(), 2);
            let before: usize = held.iter().map(|chunk| chunk.len()).sum();
            drop(held);
            assert_eq!(before + hear(&stream).await.0.len(), 1000);
        },
    );
}

#[test]
fn a_second_send_at_a_time_is_a_bug() {
    check_few_seeds("two sends", Faults::CALM, |world| {
        let env = world.node("one", Limits::AMPLE);
        env.listen(&env.address(1), drop);
        let own = env.clone();
        env.spawn(async move {
            let stream = own.connect(&own.address(1)).await.expect("somebody listens");
            for _ in 0..2 {
                let mut data = SendBuf::new(own.buffer());
                data.push(&[0; 200_000]);
                stream.start_send(data);
            }
        });
        assert!(world.run(Duration::from_secs(300)));
        // One bug costs one task: the world goes on and nothing of the task is left.
        assert_eq!((env.panics_count(), world.leaks()), (1, Vec::new()));
    });
}

#[test]
fn connects_end_as_the_path_says() {
    let check = |path: Path, expected: Option<Result<(), ErrorKind>>, least_ms: u64| {
        check_few_seeds("paths", Faults::CALM, move |world| {
            let env = world.node("one", Limits::AMPLE);
            let address = env.address(1);
            env.listen(&address, drop);
            world.set_path(&address, path);
            let own = env.clone();
            env.spawn(async move {
                let (timer, start) = (own.timer(), own.now());
                timer.set(start + Duration::from_secs(1));
                let raced = timer.race(own.connect(&own.address(1))).await;
                let outcome = raced.map(|result| result.map(drop).map_err(|error| error.kind()));
                assert_eq!(outcome, expected);
                assert!(own.now().since(start) >= Duration::from_millis(least_ms));
            });
            world.finish(Duration::from_secs(300));
        });
    };
    check(Path::Open, Some(Ok(())), 0);
    check(Path::Refused, Some(Err(ErrorKind::ConnectionRefused)), 0);
    check(Path::Hole, None, 1000);
    check(Path::Slow(Duration::from_secs(10)), None, 1000);
}

#[test]
fn an_address_without_a_listener_refuses() {
    check_few_seeds("nobody", Faults::CALM, |world| {
        let env = world.node("one", Limits::AMPLE);
        for to in ["10.9.9.9:1", "unix:/run/nobody.sock"] {
            let (own, to) = (env.clone(), to.parse::<Address>().expect("an address"));
            env.spawn(async move {
                let error = own.connect(&to).await.map(drop).expect_err("nobody is there");
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            });
        }
        world.finish(Duration::from_secs(300));
    });
}

#[test]
fn a_timer_fires_at_the_first_tick_and_follows_every_move() {
    check_few_seeds("timers", Faults::CALM, |world| {
        let env = world.node("one", Limits::AMPLE);
        for ms in [0, 1, 9, 30, 1000] {
            let own = env.clone();
            env.spawn(async move {
                let (timer, start) = (own.timer(), own.now());
                let wait = Duration::from_millis(ms);
                // Far, then near, then never, then where it belongs.
                for at in [start + Duration::from_secs(99), start, Time::NEVER, start + wait] {
                    timer.set(at);
                }
                timer.expired().await;
                let late = own.now().since(start + wait);
                assert!(own.now() >= start + wait && late <= Duration::from_millis(11), "{late:?}");
                // Ready until it is moved.
                timer.expired().await;
                timer.set(Time::NEVER);
                let other = own.timer();
                other.set(own.now() + Duration::from_secs(9));
                assert_eq!(other.race(timer.expired()).await, None);
            });
        }
        world.finish(Duration::from_secs(60));
    });
}

#[test]
fn a_parked_stream_comes_back_for_bytes_an_end_a_timeout_and_a_drain() {
    let check = |expected: Wake, act: fn(&World, &SimEnv)| {
        check_few_seeds("park", Faults::CALM, move |world| {
            let (env, peer) =
                (world.node("parks", Limits::AMPLE), world.node("peer", Limits::AMPLE));
            let woken = Rc::new(RefCell::new(Vec::new()));
            let (own, seen) = (env.clone(), woken.clone());
            env.listen(&env.address(1), move |stream| {
                let seen = seen.clone();
                let until = own.now() + Duration::from_secs(75);
                own.park(stream, until, move |_, wake| seen.borrow_mut().push(wake));
            });
            let (own, to) = (peer.clone(), env.address(1));
            let deaf = expected != Wake::Readable;
            peer.spawn(async move {
                let stream = own.connect(&to).await.expect("somebody listens");
                if deaf {
                    assert_eq!(hear(&stream).await, (Vec::new(), None));
                }
            });
            act(world, &env);
            world.finish(Duration::from_secs(300));
            assert_eq!(*woken.borrow(), [expected]);
        });
    };
    check(Wake::Readable, |_, _| {});
    check(Wake::Timeout, |_, _| {});
    check(Wake::Drain, |world, env| {
        let env = env.clone();
        world.after(Duration::from_secs(5), move |_| env.drain());
    });
}

#[test]
fn time_stands_still_within_a_poll_and_never_goes_back() {
    check_few_seeds("clock", Faults::CALM, |world| {
        let env = world.node("one", Limits::AMPLE);
        let last = Rc::new(Cell::new(Time::from_ns(0)));
        for _ in 0..5 {
            let (own, last) = (env.clone(), last.clone());
            env.spawn(async move {
                for _ in 0..20 {
                    let (now, unix) = (own.now(), own.unix());
                    assert!(now >= last.replace(now));
                    assert_eq!((now, unix), (own.now(), own.unix()));
                    let timer = own.timer();
                    timer.set(now + Duration::from_millis(own.random() % 30));
                    timer.expired().await;
                }
            });
        }
        world.finish(Duration::from_secs(60));
    });
}
