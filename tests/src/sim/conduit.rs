//! A conduit of the simulated world: a pipe that is cut, full and refused like the kernel's.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};

use penstock_env::{Conduit, Flow, Torn};

use super::shared::Shared;
use super::stream::{SUBMIT, SimChunk, SimStream};
use super::trace::Event;

/// Bytes on their way from one stream to another.
pub struct SimConduit {
    shared: Rc<Shared>,
    pipe: VecDeque<u8>,
}

impl SimConduit {
    pub(super) fn new(shared: Rc<Shared>) -> SimConduit {
        SimConduit { shared, pipe: VecDeque::new() }
    }

    /// Fills the pipe, or says why not.
    fn fill(&mut self, context: &Context<'_>, from: u64) -> Poll<Result<Flow<SimChunk>, Torn>> {
        let mut net = self.shared.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&from) else { return torn(Torn::From) };
        if let Some(chunk) = socket.into.chunks.pop_front() {
            return Poll::Ready(Ok(Flow::Received(chunk)));
        }
        if !socket.into.buffered.is_empty() {
            if self.shared.below(REFUSED_ONCE_IN) == 0 {
                return Poll::Ready(Ok(Flow::Refused));
            }
            let most = socket.into.buffered.len().min(PIPE_BYTES);
            let rng = &mut self.shared.rng.borrow_mut();
            let count = socket.link.cut.size(most, socket.into.passed, rng);
            socket.into.passed += count as u64;
            self.pipe.extend(socket.into.buffered.drain(..count));
            self.shared.record(Event::Piped { socket: from, bytes: count });
            return Poll::Ready(Ok(Flow::Moved(count)));
        }
        if socket.into.error.is_some() {
            return torn(Torn::From);
        }
        if socket.into.ended {
            return Poll::Ready(Ok(Flow::Ended));
        }
        socket.into.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Conduit<SimStream> for SimConduit {
    // Small, so that conversations which a run has time for have both, and change between them.
    const LARGE_BYTES: usize = 64;
    const PAYS_AFTER_BYTES: u32 = 1_000;

    fn poll_move(
        &mut self,
        context: &mut Context<'_>,
        from: &SimStream,
        to: &SimStream,
    ) -> Poll<Result<Flow<SimChunk>, Torn>> {
        if self.pipe.is_empty() {
            match self.fill(context, from.id()) {
                Poll::Ready(Ok(Flow::Moved(_))) => {
                    let shared = Rc::clone(&self.shared);
                    shared.open_window(&mut shared.net.borrow_mut(), from.id());
                }
                other => return other,
            }
        }
        let mut net = self.shared.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&to.id()) else { return torn(Torn::To) };
        assert!(socket.out.sending.is_none(), "a send is under way on socket {}", to.id());
        if socket.out.error.is_some() || socket.out.end_wanted {
            return torn(Torn::To);
        }
        let room = socket.link.send_bytes_max.saturating_sub(socket.out.buffered.len());
        if room == 0 {
            socket.out.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let passed = socket.out.passed + socket.out.buffered.len() as u64;
        let most = self.pipe.len().min(room);
        let count = socket.link.cut.size(most, passed, &mut self.shared.rng.borrow_mut());
        socket.out.buffered.extend(self.pipe.drain(..count));
        self.shared.record(Event::Taken { socket: to.id(), bytes: count });
        self.shared.plan_pump(to.id(), socket, SUBMIT);
        Poll::Ready(Ok(Flow::Moved(count)))
    }

    fn held_bytes(&self) -> usize {
        self.pipe.len()
    }
}

fn torn(which: Torn) -> Poll<Result<Flow<SimChunk>, Torn>> {
    Poll::Ready(Err(which))
}

/// What the pipe holds at most.
const PIPE_BYTES: usize = 16 * 1024;
/// How rarely there is no pipe.
const REFUSED_ONCE_IN: u32 = 64;
