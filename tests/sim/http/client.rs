//! A client's session: requests on one connection, and what it must get for each.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use penstock_env::{Address, CloseKind, Env, Stream, Timer, TimerExt};
use penstock_proxy::Cause;
use penstock_tests::sim::SimEnv;

use super::ledger::{Ledger, Outcome};
use super::origin::{HOST, encode_chunked, filler, target};
use super::plan::{Abort, Framing, Pace, Plan};
use super::wire::{Broken, Expected, Head, Wire};

/// Requests that share a connection.
pub(crate) struct Session {
    pub(crate) plans: Vec<Rc<Plan>>,
    /// Does not wait for an answer before the next request.
    pub(crate) pipelined: bool,
    /// Ends its direction after the last request, and still wants the answers.
    pub(crate) half_close: bool,
    /// Something is between this client and the origin.
    pub(crate) proxied: bool,
}

/// What reader and writer of a session tell each other.
#[derive(Default)]
struct Progress {
    /// Final answers read.
    answered: Cell<usize>,
    /// `100 Continue` came for this request.
    go_ahead: Cell<Option<usize>>,
    /// Requests whose last byte was written.
    written: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl Session {
    /// Runs the session; every plan gets its outcome in the ledger.
    pub(crate) async fn run(self, env: SimEnv, to: Address, ledger: Rc<Ledger>) {
        let mut outcomes = Vec::new();
        let mut gave_up = false;
        if let Some(stream) = Wire::connect(&env, &to).await {
            let wire = Wire::new(env, stream);
            let progress = Progress::default();
            gave_up = {
                let mut write = pin!(self.write(&wire, &progress));
                let mut read = pin!(self.read(&wire, &progress, &mut outcomes));
                let mut writing = true;
                poll_fn(|context| {
                    if writing && let Poll::Ready(done) = write.as_mut().poll(context) {
                        if done == Err(Broken::GaveUp) {
                            return Poll::Ready(true);
                        }
                        writing = false;
                    }
                    read.as_mut().poll(context).map(|()| false)
                })
                .await
            };
            gave_up |= outcomes.last() == Some(&Outcome::GaveUp);
            let abort = self.plans.iter().find_map(|plan| plan.abort).filter(|_| gave_up);
            wire.stream.close(abort.map_or(CloseKind::Now, Abort::kind));
        }
        let mut announced = gave_up || !outcomes.is_empty();
        for (i, plan) in self.plans.iter().enumerate() {
            let outcome = match outcomes.get(i) {
                Some(&outcome) => outcome,
                None if gave_up && plan.abort.is_some() => Outcome::GaveUp,
                None => Outcome::Unanswered { announced },
            };
            ledger.close(plan.id, outcome);
            announced = true;
        }
    }

    async fn write(&self, wire: &Wire, progress: &Progress) -> Result<(), Broken> {
        for (i, plan) in self.plans.iter().enumerate() {
            if !self.pipelined {
                progress.wait(|progress| progress.answered.get() >= i).await;
            }
            wire.env.note("asks", plan.id);
            let (head, body) = (render_head(plan), render_body(plan));
            let limit = match plan.abort {
                Some(Abort::Sending { bytes, .. }) => usize::try_from(bytes).unwrap_or(usize::MAX),
                _ => usize::MAX,
            };
            wire.write(&head[..head.len().min(limit)], &plan.pace).await?;
            if plan.expect && limit >= head.len() && !wait_to_go_on(wire, progress, i).await {
                // RFC 9110 §10.1.1: whoever gets a final answer need not send the body.
                return Ok(());
            }
            let rest = limit.saturating_sub(head.len());
            wire.write(&body[..body.len().min(rest)], &plan.pace).await?;
            if limit < head.len() + body.len() {
                return Err(Broken::GaveUp);
            }
            progress.written.set(i + 1);
        }
        if self.half_close {
            wire.stream.shutdown_write();
        }
        Ok(())
    }

    async fn read(&self, wire: &Wire, progress: &Progress, outcomes: &mut Vec<Outcome>) {
        for (i, plan) in self.plans.iter().enumerate() {
            let (outcome, over) = match self.answer(wire, progress, i, plan).await {
                Ok(Some((outcome, over))) => (outcome, over),
                // Whether an end before any byte is right is the ledger's to say.
                Ok(None) => return outcomes.push(Outcome::Unanswered { announced: false }),
                Err((true, broken)) => (cut(broken), true),
                Err((false, _)) => return outcomes.push(Outcome::Unanswered { announced: false }),
            };
            outcomes.push(outcome);
            // An answer before the whole request was sent ends the session of a client that
            // was told not to send the rest.
            let unsent = progress.written.get() <= i && (plan.expect || outcome != Outcome::Exact);
            let whole = matches!(outcome, Outcome::Exact | Outcome::Own { .. });
            if over || unsent || !whole {
                return;
            }
            progress.answered.set(i + 1);
            progress.wake();
        }
    }

    /// Reads one final answer: its outcome and whether the connection is over. An error tells
    /// whether it came after the final answer's first line.
    async fn answer(
        &self,
        wire: &Wire,
        progress: &Progress,
        i: usize,
        plan: &Plan,
    ) -> Result<Option<(Outcome, bool)>, (bool, Broken)> {
        let mut interim_count = 0;
        let head = loop {
            let head = wire.head().await.map_err(|broken| (false, broken))?;
            let Some(head) = head else { return Ok(None) };
            match status(&head) {
                101 => break head,
                100..=199 => {
                    interim_count += 1;
                    // One `100 Continue` beside those that are planned, from each attempt.
                    assert!(interim_count <= 3 * (plan.answer.interim_count + 1), "{head:?}");
                    if status(&head) == 100 {
                        progress.go_ahead.set(Some(i));
                        progress.wake();
                    }
                }
                _ => break head,
            }
        };
        self.final_answer(wire, plan, &head).await.map(Some).map_err(|broken| (true, broken))
    }

    async fn final_answer(
        &self,
        wire: &Wire,
        plan: &Plan,
        head: &Head,
    ) -> Result<(Outcome, bool), Broken> {
        let bodiless = plan.method == "HEAD" || matches!(status(head), 204 | 304 | 101);
        let framing = if bodiless { (Framing::None, 0) } else { head.framing(Framing::Close) };
        assert!(!(plan.old && framing.0 == Framing::Chunked), "HTTP/1.0 knows no chunks");
        let over = head.connection_has("close")
            || framing.0 == Framing::Close
            || (plan.old && !head.connection_has("keep-alive"));
        let Some(id) = head.id() else {
            let mut anything = Expected::anything("client");
            wire.body(framing, &mut anything, &Pace::QUICK).await?;
            let cause = head.field("x-penstock-cause").map(cause_named);
            return Ok((Outcome::Own { status: status(head), cause }, over));
        };
        wire.env.note("is answered", id);
        assert_eq!(id, plan.id, "an answer to another request: {head:?}");
        assert_eq!(status(head), plan.answer.status);
        if self.proxied {
            // RFC 9110 §7.6.1.
            assert_eq!(head.field("x-hop"), None, "{head:?}");
        }
        assert_eq!(head.field("x-edited"), plan.mark.map(|_| "yes"), "{head:?}");
        if plan.tunnels() {
            return tunnel(wire, plan).await.map(|()| (Outcome::Exact, true));
        }
        let mut expected = Expected::text("client", plan.answer_text());
        if let Some(Abort::Receiving { bytes, .. }) = plan.abort {
            expected.give_up_at = Some(bytes);
        }
        wire.body(framing, &mut expected, &plan.pace).await?;
        let whole = !plan.answer_has_body() || expected.passed == plan.answer.body_bytes;
        let told = framing.0 != Framing::Close && !plan.answer.ends_unnoticed(plan);
        assert!(whole || !told, "a whole body has all of its bytes");
        Ok((if whole { Outcome::Exact } else { Outcome::Cut(Broken::Cut) }, over))
    }
}

impl Progress {
    async fn wait(&self, done: impl Fn(&Progress) -> bool) {
        poll_fn(|context| {
            if done(self) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Abort {
    fn kind(self) -> CloseKind {
        let (Abort::Sending { reset, .. } | Abort::Receiving { reset, .. }) = self;
        if reset { CloseKind::Reset } else { CloseKind::Now }
    }
}

fn cut(broken: Broken) -> Outcome {
    if broken == Broken::GaveUp { Outcome::GaveUp } else { Outcome::Cut(broken) }
}

/// Waits for `100 Continue`, not for ever (RFC 9110 §10.1.1); false at a final answer.
async fn wait_to_go_on(wire: &Wire, progress: &Progress, i: usize) -> bool {
    let timer = wire.env.timer();
    timer.set(wire.env.now() + Duration::from_secs(2));
    let told =
        |progress: &Progress| progress.go_ahead.get() == Some(i) || progress.answered.get() > i;
    timer.race(progress.wait(told)).await;
    progress.answered.get() <= i
}

/// The cause of that name.
fn cause_named(name: &str) -> Cause {
    let found = Cause::ALL.iter().find(|cause| cause.name() == name);
    *found.unwrap_or_else(|| panic!("no cause is called {name:?}"))
}

/// The status of an answer.
///
/// # Panics
/// When the first line is no status line (RFC 9112 §4).
fn status(head: &Head) -> u16 {
    let line = head.line.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("{head:?}"));
    let (digits, _) = line.split_once(' ').unwrap_or_else(|| panic!("{head:?}"));
    assert!(digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit()), "{head:?}");
    digits.parse().expect("three digits")
}

fn render_head(plan: &Plan) -> Vec<u8> {
    let version = if plan.old { "1.0" } else { "1.1" };
    let mut head = format!("{} {} HTTP/{version}\r\nHost: {HOST}\r\n", plan.method, target(plan));
    head += &format!("X-Id: {:x}\r\n", plan.id);
    if let Some(mark) = plan.mark {
        head += &format!("X-Mark: {}\r\n", mark.text());
    }
    for number in 0..plan.filler_fields {
        let (name, value) = filler(plan, number);
        head += &format!("{name}: {value}\r\n");
    }
    let mut options = Vec::new();
    if plan.filler_fields.is_multiple_of(4) {
        options.push("x-hop");
        head += "X-Hop: 1\r\n";
    }
    if plan.last && !plan.upgrade {
        options.push("close");
    }
    if plan.upgrade {
        options.push("upgrade");
        head += "Upgrade: sim-echo\r\n";
    }
    if !options.is_empty() {
        head += &format!("Connection: {}\r\n", options.join(", "));
    }
    match plan.body {
        Framing::Length => head += &format!("Content-Length: {}\r\n", plan.body_bytes),
        Framing::Chunked => head += "Transfer-Encoding: chunked\r\n",
        Framing::None | Framing::Close => {}
    }
    if plan.expect {
        head += "Expect: 100-continue\r\n";
    }
    (head + "\r\n").into_bytes()
}

fn render_body(plan: &Plan) -> Vec<u8> {
    let text = plan.text().next(usize::try_from(plan.body_bytes).unwrap_or(0));
    if plan.body != Framing::Chunked {
        return text;
    }
    let mut encoded = Vec::new();
    encode_chunked(&text, plan.id, &mut encoded);
    encoded
}

/// Sends the text through the tunnel and wants it back, then the end.
async fn tunnel(wire: &Wire, plan: &Plan) -> Result<(), Broken> {
    let (mut upward, mut back) = (plan.text(), plan.text());
    let mut left = plan.answer.body_bytes;
    while left > 0 {
        let piece = upward.next(usize::try_from(left.min(700)).unwrap_or(0));
        wire.write(&piece, &plan.pace).await?;
        let mut due = piece.len();
        while due > 0 {
            if !wire.more().await? {
                return Err(Broken::Cut);
            }
            let bytes = wire.take_all();
            assert!(bytes.len() <= due, "more came back than was sent");
            back.check("client's tunnel", &bytes);
            due -= bytes.len();
        }
        left -= piece.len() as u64;
    }
    wire.stream.shutdown_write();
    if wire.more().await? { Err(Broken::Slow) } else { Ok(()) }
}
