//! One end of a connection to the proxy: sends bytes while it hears, and hears as a judge does.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use penstock_env::{CloseKind, Env, SendBuf, Stream, Timer};

use super::judge::Judge;
use super::script::{Side, Source, Speaker, Step};
use crate::frames::{SETTINGS, frame};
use crate::sim::{SimEnv, SimStream, SimTimer};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The other side ended its direction.
    Orderly,
    /// It was reset.
    Broken,
}

/// One end of a connection.
pub(super) struct Peer {
    env: SimEnv,
    stream: SimStream,
    timer: SimTimer,
    pub(super) judge: Judge,
    /// What is still to be sent.
    out: Vec<u8>,
    deaf: bool,
    pub(super) ended: Option<Ended>,
}

impl Peer {
    pub(super) fn new(env: &SimEnv, stream: SimStream, judge: Judge) -> Peer {
        let timer = env.timer();
        let (env, out) = (env.clone(), Vec::new());
        Peer { env, stream, timer, judge, out, deaf: false, ended: None }
    }

    /// Gives it something to send.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Says what the judge says that is owed.
    pub(super) fn say_owed(&mut self) {
        let owed = std::mem::take(&mut self.judge.owed);
        self.out.extend(owed);
    }

    /// Sends and hears for `wait`, or until `done`, or until the connection ends.
    pub(super) async fn go(&mut self, wait: Duration, done: impl Fn(&Judge) -> bool) {
        self.timer.set(self.env.now() + wait);
        poll_fn(|context| {
            while !self.deaf && self.ended.is_none() {
                match self.stream.poll_recv(context) {
                    Poll::Ready(Ok(Some(chunk))) => self.judge.take(&chunk),
                    Poll::Ready(Ok(None)) => {
                        self.judge.finish();
                        self.ended = Some(Ended::Orderly);
                    }
                    Poll::Ready(Err(_)) => self.ended = Some(Ended::Broken),
                    Poll::Pending => break,
                }
            }
            while !self.out.is_empty() {
                match self.stream.poll_sent(context) {
                    Poll::Ready(Ok(())) => {
                        let rest = self.out.split_off(self.out.len().min(PIECE_BYTES));
                        let piece = std::mem::replace(&mut self.out, rest);
                        let mut data = SendBuf::new(self.env.buffer());
                        data.push(&piece);
                        self.stream.start_send(data);
                    }
                    Poll::Ready(Err(_)) => {
                        self.out.clear();
                        self.ended = Some(Ended::Broken);
                    }
                    Poll::Pending => break,
                }
            }
            match self.ended.is_some() || done(&self.judge) {
                true => Poll::Ready(()),
                false => self.timer.poll_expired(context),
            }
        })
        .await;
    }

    /// Says what a script has it say, then ends as `goodbye` says. Gives back what it said and
    /// heard.
    pub(super) async fn play(
        mut self,
        source: &std::cell::RefCell<Source>,
        side: Side,
        goodbye: Goodbye,
    ) -> (Speaker, Judge) {
        let mut speaker = Speaker::new(side);
        if side == Side::Client {
            self.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        }
        self.say(&frame(SETTINGS, 0, 0, &[]));
        while self.ended.is_none() && !source.borrow().is_at_end() {
            let newest = self.judge.newest;
            let step = speaker.step(&mut source.borrow_mut(), newest);
            match step {
                Step::Say(bytes) => self.say(&bytes),
                Step::Wait(wait) => self.go(wait, |_| false).await,
                Step::Deaf(deaf) => self.deaf = deaf,
                Step::Await => self.go(AWAIT, |judge| judge.newest > newest).await,
                Step::Finish => {
                    self.go(AWAIT, |_| false).await;
                    self.stream.shutdown_write();
                    break;
                }
            }
        }
        let leave = match goodbye {
            Goodbye::Listen => PATIENCE,
            Goodbye::Close | Goodbye::Reset => AWAIT,
        };
        self.deaf &= goodbye != Goodbye::Listen;
        self.go(leave, |_| false).await;
        let kind = if goodbye == Goodbye::Reset { CloseKind::Reset } else { CloseKind::Now };
        self.stream.close(kind);
        (speaker, self.judge)
    }
}

/// What a speaker does when it has said everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goodbye {
    /// It hears whatever is still said.
    Listen,
    /// It closes.
    Close,
    /// It resets.
    Reset,
}

/// What is sent at a time.
const PIECE_BYTES: usize = 4_000;
/// How long something is waited for that may not come.
const AWAIT: Duration = Duration::from_millis(200);
/// Longer than what a listener may do without: the other side ends it, or nobody.
const PATIENCE: Duration = Duration::from_secs(40);
