//! A shard on the real kernel: an echo service, plain blocking sockets against it.

#![allow(clippy::disallowed_methods, reason = "on the real kernel time is the real one")]

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use penstock_env::{Address, Ends, Env, Replies, SendBuf, StreamExt, Time, Timer, TimerExt, Wake};
use penstock_shard::{
    Control, Listener, Sender, Service, ShardEnv, ShardError, ShardHandle, ShardOptions,
    ShardReplies, ShardStream, mailbox, probe, raise_limits, start,
};

enum Mail {
    Stop,
    /// Panics outside of any task: the shard itself dies.
    Die,
    /// Has a task be busy for ever.
    Spin,
    /// Tells how many sockets and buffers are in use.
    Connect(Address, std::sync::mpsc::Sender<Result<Vec<u8>, std::io::ErrorKind>>),
}

struct Echo {
    env: ShardEnv,
    stopped: Cell<bool>,
    parks: bool,
    seen: Rc<RefCell<u64>>,
    /// Held by a task that waits for ever, and by each connection's.
    held: Arc<()>,
}

impl Echo {
    fn new(env: ShardEnv, parks: bool, held: Arc<()>) -> Echo {
        let (timer, waits) = (env.timer(), Arc::clone(&held));
        env.spawn(async move {
            timer.set(Time::from_ns(u64::MAX - 1));
            timer.expired().await;
            drop(waits);
        });
        Echo { env, stopped: Cell::new(false), parks, seen: Rc::default(), held }
    }
}

impl Service for Echo {
    type Mail = Mail;

    fn datagrams(&self, _: usize, replies: &ShardReplies, ends: Ends, datagrams: &[&[u8]]) {
        replies.send(&ends, datagrams);
    }

    fn accept(&self, _listener: usize, stream: ShardStream) {
        if self.parks {
            park(self.env.clone(), stream)
        } else {
            spawn_echo(&self.env, stream, Arc::clone(&self.held))
        }
        *self.seen.borrow_mut() += 1;
    }

    fn mail(&self, mail: Mail, control: &dyn Control) {
        match mail {
            Mail::Stop => {
                control.stop_listening();
                control.wake_parked();
                self.stopped.set(true);
            }
            Mail::Die => panic!("asked for"),
            Mail::Spin => self.env.spawn(std::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                std::task::Poll::<()>::Pending
            })),
            Mail::Connect(to, answer) => {
                let env = self.env.clone();
                self.env.spawn(async move {
                    let timer = env.timer();
                    timer.set(env.now() + Duration::from_millis(200));
                    let outcome = match timer.race(env.connect(&to)).await {
                        None => Err(std::io::ErrorKind::TimedOut),
                        Some(Err(error)) => Err(error.kind()),
                        Some(Ok(stream)) => match stream.recv().await {
                            Ok(chunk) => Ok(chunk.map(|c| c.to_vec()).unwrap_or_default()),
                            Err(error) => Err(error.kind()),
                        },
                    };
                    let _ = answer.send(outcome);
                });
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.stopped.get()
    }
}

fn spawn_echo(env: &ShardEnv, stream: ShardStream, held: Arc<()>) {
    let inner = env.clone();
    env.spawn(async move {
        let _held = held;
        while let Ok(Some(chunk)) = stream.recv().await {
            assert!(!chunk.starts_with(b"panic"), "asked for");
            let mut send = SendBuf::new(inner.buffer());
            send.push_chunk(chunk);
            if stream.send(send).await.is_err() {
                return;
            }
        }
        let _ = stream.sent().await;
    });
}

fn park(env: ShardEnv, stream: ShardStream) {
    let until = env.now() + Duration::from_millis(300);
    let again = env.clone();
    env.park(stream, until, move |stream, wake| match wake {
        Wake::Readable => {
            let env = again.clone();
            again.spawn(async move {
                if let Ok(Some(chunk)) = stream.recv().await {
                    let mut send = SendBuf::new(env.buffer());
                    send.push_chunk(chunk);
                    let _ = stream.send(send).await;
                    park(env, stream);
                }
            });
        }
        Wake::Timeout | Wake::Drain | Wake::Review => drop(stream),
    });
}

fn run(parks: bool) -> (SocketAddr, Sender<Mail>, ShardHandle) {
    let (address, _, sender, handle) = run_telling(parks, Arc::default(), Box::new(|| {}));
    (address, sender, handle)
}

fn run_telling(
    parks: bool,
    held: Arc<()>,
    ended: Box<dyn FnOnce() + Send>,
) -> (SocketAddr, Listener, Sender<Mail>, ShardHandle) {
    raise_limits(1).expect("memlock");
    probe().expect("io_uring");
    let listener = Listener::bind(&"127.0.0.1:0".parse().expect("address")).expect("bind");
    let Address::Ip(address) = *listener.local() else { panic!("an IP listener") };
    let (sender, inbox) = mailbox(16).expect("mailbox");
    let options = ShardOptions {
        index: 0,
        core: None,
        pipes_max: 1,
        buffers: 64,
        listeners: vec![listener.share().expect("a handle")],
        counters: Arc::default(),
        ended,
    };
    let handle = start(options, inbox, move |env| Echo::new(env, parks, held)).expect("a shard");
    (address, listener, sender, handle)
}

fn stop(mut sender: Sender<Mail>, handle: ShardHandle) {
    assert!(sender.send(Mail::Stop).is_ok());
    handle.join().expect("a clean end");
}

#[test]
fn echoes_small_and_large_and_ends_with_the_peer() {
    let (address, sender, handle) = run(false);
    let mut clients: Vec<_> =
        (0..20).map(|_| TcpStream::connect(address).expect("connect")).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let text = format!("hello {number}");
        client.write_all(text.as_bytes()).expect("write");
        let mut back = vec![0; text.len()];
        client.read_exact(&mut back).expect("read");
        assert_eq!(back, text.as_bytes());
    }
    // 4 MiB through 64 buffers of 4 KiB, the reader slower than the writer.
    let large: Vec<u8> = (0..4 * 1024 * 1024_u32).map(|i| (i % 251) as u8).collect();
    let mut writer = clients[0].try_clone().expect("clone");
    let data = large.clone();
    let sending = std::thread::spawn(move || {
        writer.write_all(&data).expect("write");
        writer.shutdown(Shutdown::Write).expect("shutdown");
    });
    let mut back = Vec::new();
    clients[0].read_to_end(&mut back).expect("read");
    sending.join().expect("sent");
    assert!(back == large, "{} of {} bytes came back", back.len(), large.len());
    stop(sender, handle);
}

#[test]
fn a_panic_costs_one_connection() {
    let (address, sender, handle) = run(false);
    let mut first = TcpStream::connect(address).expect("connect");
    let mut second = TcpStream::connect(address).expect("connect");
    first.write_all(b"panic").expect("write");
    let mut rest = Vec::new();
    let _ = first.read_to_end(&mut rest);
    assert!(rest.is_empty());
    second.write_all(b"still here").expect("write");
    let mut back = [0; 10];
    second.read_exact(&mut back).expect("read");
    assert_eq!(&back, b"still here");
    stop(sender, handle);
}

#[test]
fn a_dead_shard_tells_and_closes_what_it_had_but_not_who_waits() {
    let (telling, told) = std::sync::mpsc::channel();
    let ended = Box::new(move || telling.send(()).expect("somebody listens"));
    let (address, listener, mut sender, handle) = run_telling(false, Arc::default(), ended);
    let mut client = TcpStream::connect(address).expect("connect");
    client.write_all(b"x").expect("write");
    client.read_exact(&mut [0]).expect("an echo");
    assert!(sender.send(Mail::Die).is_ok());
    told.recv_timeout(Duration::from_secs(5)).expect("told");
    assert!(matches!(handle.join(), Err(ShardError::Panicked { index: 0 })));
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)), "the connection died with it");
    // Who comes now waits at the socket for the shard that takes its place.
    TcpStream::connect(address).expect("the socket still listens");
    drop(listener);
}

#[test]
fn a_parked_stream_comes_back_for_bytes_and_ends_at_its_time() {
    let (address, sender, handle) = run(true);
    let mut client = TcpStream::connect(address).expect("connect");
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(100));
        client.write_all(b"ping").expect("write");
        let mut back = [0; 4];
        client.read_exact(&mut back).expect("read");
    }
    let before = std::time::Instant::now();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("an orderly end");
    let waited = before.elapsed().as_millis();
    assert!((200..1000).contains(&waited), "closed after {waited} ms");
    stop(sender, handle);
}

#[test]
fn a_refused_connect_says_so_and_an_accepted_one_reads() {
    let (_, mut sender, handle) = run(false);
    let origin = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = origin.local_addr().expect("address");
    let greeting = std::thread::spawn(move || {
        let (mut peer, _) = origin.accept().expect("accept");
        peer.write_all(b"welcome").expect("write");
    });
    let mut ask = |to: SocketAddr| {
        let (answer, outcome) = std::sync::mpsc::channel();
        assert!(sender.send(Mail::Connect(to.into(), answer)).is_ok());
        outcome.recv_timeout(Duration::from_secs(5)).expect("an answer")
    };
    assert_eq!(ask(address), Ok(b"welcome".to_vec()));
    greeting.join().expect("greeted");
    assert_eq!(ask(address), Err(std::io::ErrorKind::ConnectionRefused));
    stop(sender, handle);
}

#[test]
fn a_shard_that_is_stopped_while_nothing_is_connected_refuses_at_once() {
    let (address, sender, handle) = run(false);
    stop(sender, handle);
    let refused = TcpStream::connect(address).map_err(|error| error.kind());
    assert!(matches!(refused, Err(std::io::ErrorKind::ConnectionRefused)), "{refused:?}");
}

#[test]
fn a_shard_that_is_stopped_cuts_and_drops_what_is_under_way() {
    let held = Arc::new(());
    let shard = run_telling(false, Arc::clone(&held), Box::new(|| {}));
    let (address, listener, sender, handle) = shard;
    drop(listener);
    let mut client = TcpStream::connect(address).expect("connect");
    client.write_all(b"x").expect("write");
    client.read_exact(&mut [0]).expect("an echo");
    assert!(Arc::strong_count(&held) > 2, "tasks wait on a timer and on a socket");
    stop(sender, handle);
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)), "cut");
    assert_eq!(Arc::strong_count(&held), 1, "no task outlives its shard");
}

#[test]
fn tasks_that_are_always_busy_keep_nobody_waiting() {
    let (address, mut sender, handle) = run(false);
    assert!(sender.send(Mail::Spin).is_ok());
    let mut client = TcpStream::connect(address).expect("connect");
    client.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    for _ in 0..10 {
        client.write_all(b"ping").expect("write");
        client.read_exact(&mut [0; 4]).expect("an echo");
    }
    stop(sender, handle);
}
