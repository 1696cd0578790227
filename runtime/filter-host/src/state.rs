//! What hostcalls work on: everything the host keeps for one instance.

use std::mem;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use penstock_env::{Map, Time};
use wasmtime::{Memory, TypedFunc};

use crate::abi::{BufferType, Status, Version, arena};
use crate::contexts::{ContextId, Contexts, Ending, Kind};
use crate::grpc::{GrpcEvent, Ongoing};
use crate::limits::Limits;
use crate::metrics::{FilterStats, ShardStats};
use crate::queues::{Queues, Registration};
use crate::session::{Body, CalloutResponse, Session};
use crate::settings::{Capabilities, FilterSettings};
use crate::shared::Space;
use crate::ticker::TICK;
use crate::world::World;

/// The data of an instance's store.
pub(crate) struct State {
    pub(crate) settings: Arc<FilterSettings>,
    pub(crate) capabilities: Capabilities,
    pub(crate) version: Version,
    pub(crate) shared: Arc<Space>,
    pub(crate) queues: Arc<Queues>,
    /// The queues that root contexts hear of.
    pub(crate) registrations: Vec<Registration>,
    pub(crate) stats: Arc<FilterStats>,
    pub(crate) shard: usize,
    /// Where in `stats` this version's counters of the shard are.
    pub(crate) place: usize,
    pub(crate) world: Rc<dyn World>,
    /// Known once the instance is made.
    pub(crate) memory: Option<Memory>,
    /// The guest's allocator, likewise; not here while it runs.
    pub(crate) allocate: Option<TypedFunc<u32, u32>>,
    pub(crate) arena: Arena,
    pub(crate) limits: Limits,
    pub(crate) contexts: Contexts,
    pub(crate) call: Call,
    pub(crate) callouts: Callouts,
    /// Timers of root contexts.
    pub(crate) ticks: Vec<Tick>,
    /// They were changed since the shard last looked, or there are items of a queue to tell of.
    pub(crate) roots_moved: bool,
    /// Contexts that are over and not done.
    pub(crate) waiting: Waiting,
    /// Contexts whose `proxy_done` came and whose last callbacks are due.
    pub(crate) due: Vec<ContextId>,
    /// Where values are put together before they are copied into the guest.
    pub(crate) scratch: Vec<u8>,
    pub(crate) clock: Clock,
    pub(crate) log: LogBudget,
    pub(crate) watch: Watch,
    /// The code of `proc_exit`, when that ended the instance.
    pub(crate) exit: Option<u32>,
}

impl State {
    /// This shard's counters.
    #[inline]
    pub(crate) fn counters(&self) -> &ShardStats {
        &self.stats.shards[self.place]
    }

    /// The root context that the effective context belongs to.
    pub(crate) fn root(&mut self) -> ContextId {
        let effective = self.call.effective;
        match self.contexts.find(effective).map(|context| context.kind) {
            Some(Kind::Stream { root, .. }) => root,
            Some(Kind::Root { .. }) | None => effective,
        }
    }

    /// Whose the calls are that the guest makes now; `None` when that is gone.
    pub(crate) fn caller(&mut self) -> Option<ContextId> {
        let effective = self.call.effective;
        let context = self.contexts.find(effective)?;
        match context.kind {
            // The exchange would take them to the endpoints, and it is over.
            Kind::Stream { root, .. } if context.ending != Ending::No => {
                self.contexts.find(root).map(|_| root)
            }
            Kind::Stream { .. } | Kind::Root { .. } => Some(effective),
        }
    }

    /// The plugin whose root context is the effective one's.
    pub(crate) fn plugin(&mut self) -> usize {
        let root = self.root();
        match self.contexts.find(root).map(|context| context.kind) {
            Some(Kind::Root { plugin }) => plugin as usize,
            Some(Kind::Stream { .. }) | None => 0,
        }
    }
}

/// What a call into the guest lends to hostcalls, and which contexts it is about.
#[derive(Default)]
pub(crate) struct Lent<'a> {
    pub(crate) session: Option<&'a mut dyn Session>,
    /// What comes from downstream: a request's body, or the bytes of a raw connection.
    pub(crate) request_body: Option<&'a mut dyn Body>,
    /// What comes from upstream, likewise.
    pub(crate) response_body: Option<&'a mut dyn Body>,
    /// Whether the bodies are a raw connection's.
    pub(crate) raw: bool,
    pub(crate) callout: Option<&'a CalloutResponse>,
    pub(crate) grpc: Option<&'a GrpcEvent>,
    /// The stream that the session and bodies belong to.
    pub(crate) stream: ContextId,
    /// What `proxy_get_status` tells.
    pub(crate) status: (u32, &'static str),
    /// Whether `PLUGIN_CONFIGURATION` can be read.
    pub(crate) configuring: bool,
}

impl Lent<'_> {
    /// The same, for a shorter time.
    pub(crate) fn reborrow(&mut self) -> Lent<'_> {
        Lent {
            session: self.session.as_mut().map(|session| &mut **session as _),
            request_body: self.request_body.as_mut().map(|body| &mut **body as _),
            response_body: self.response_body.as_mut().map(|body| &mut **body as _),
            ..*self
        }
    }
}

impl Default for ContextId {
    fn default() -> ContextId {
        ContextId::NONE
    }
}

/// The call into the guest that is under way: [`Lent`] with its lifetimes set aside.
///
/// A store's data must be `'static`, what a call lends is not. So the borrows are kept as
/// pointers, put in by [`Call::begin`] and taken out by dropping the [`Borrow`] that it answers,
/// which holds the lifetime. Between the two, only hostcalls run, and they reach the pointers
/// through `&mut self` methods alone: never two at once, never after.
#[derive(Default)]
pub(crate) struct Call {
    /// The context that hostcalls are about; changed by `proxy_set_effective_context`.
    pub(crate) effective: ContextId,
    pub(crate) stream: ContextId,
    pub(crate) status: (u32, &'static str),
    pub(crate) configuring: bool,
    raw: bool,
    session: Option<NonNull<dyn Session>>,
    request_body: Option<NonNull<dyn Body>>,
    response_body: Option<NonNull<dyn Body>>,
    callout: Option<NonNull<CalloutResponse>>,
    grpc: Option<NonNull<GrpcEvent>>,
}

impl Call {
    /// Makes what `lent` holds reachable.
    ///
    /// # Safety
    /// The caller puts `Call::default()` back in this place before the lifetime `'a` ends,
    /// whatever happens in between.
    pub(crate) unsafe fn begin<'a>(effective: ContextId, lent: Lent<'a>) -> Call {
        let session = lent.session.map(|session| {
            let pointer: NonNull<dyn Session + 'a> = NonNull::from(session);
            // SAFETY: only the lifetime changes; the caller vows not to outlive it.
            unsafe { mem::transmute::<NonNull<dyn Session + 'a>, NonNull<dyn Session>>(pointer) }
        });
        let body = |body: &'a mut (dyn Body + 'a)| {
            let pointer: NonNull<dyn Body + 'a> = NonNull::from(body);
            // SAFETY: only the lifetime changes; the caller vows not to outlive it.
            unsafe { mem::transmute::<NonNull<dyn Body + 'a>, NonNull<dyn Body>>(pointer) }
        };
        Call {
            effective,
            stream: lent.stream,
            status: lent.status,
            configuring: lent.configuring,
            raw: lent.raw,
            session,
            request_body: lent.request_body.map(body),
            response_body: lent.response_body.map(body),
            callout: lent.callout.map(NonNull::from),
            grpc: lent.grpc.map(NonNull::from),
        }
    }

    /// The session, if the call has one and is about its stream.
    ///
    /// # Errors
    /// `BadArgument` without a session, as Envoy answers for a map that isn't there.
    /// `InternalFailure` for another exchange's: its fields are in the hands of its own task, and
    /// answering "not found" would let a check pass that was never made.
    #[inline]
    pub(crate) fn session(&mut self) -> Result<&mut dyn Session, Status> {
        let Some(mut session) = self.session else {
            return Err(Status::BadArgument);
        };
        if self.effective != self.stream {
            return Err(match self.effective {
                ContextId::NONE => Status::BadArgument,
                _ => Status::InternalFailure,
            });
        }
        // SAFETY: `begin`'s caller keeps the pointee borrowed while the pointer is here, and
        // `&mut self` keeps this the only reference made of it.
        Ok(unsafe { session.as_mut() })
    }

    /// The bytes of the exchange or connection that a buffer of this kind means, if the call has
    /// them and is about its stream.
    pub(crate) fn body(&mut self, kind: BufferType) -> Option<&mut dyn Body> {
        (self.effective == self.stream).then_some(())?;
        let body = match (kind, self.raw) {
            (BufferType::RequestBody, false) | (BufferType::DownstreamData, true) => {
                self.request_body
            }
            (BufferType::ResponseBody, false) | (BufferType::UpstreamData, true) => {
                self.response_body
            }
            _ => None,
        };
        // SAFETY: as in `session`.
        body.map(|mut body| unsafe { body.as_mut() })
    }

    /// The answer to an HTTP call, in its callback; any context may read it then.
    pub(crate) fn callout(&self) -> Option<&CalloutResponse> {
        // SAFETY: as in `session`; the reference is shared, and so was the borrow.
        self.callout.map(|callout| unsafe { callout.as_ref() })
    }

    /// What came on a gRPC call, in its callback; any context may read it then.
    pub(crate) fn grpc(&self) -> Option<&GrpcEvent> {
        // SAFETY: as in `callout`.
        self.grpc.map(|event| unsafe { event.as_ref() })
    }
}

/// The block that the guest lent for values; see `abi::arena`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arena {
    /// Its address; 0 when the guest lent none.
    pub(crate) base: u32,
    /// Bytes that hold values of the callback in progress.
    pub(crate) used: u32,
}

impl Arena {
    /// Room for a value of this callback; `None` when there is no block, or not enough of it.
    #[inline]
    pub(crate) fn place(&mut self, bytes: u32) -> Option<u32> {
        let start = self.used.next_multiple_of(arena::ALIGN);
        let end = start.checked_add(bytes).filter(|&end| end <= arena::BYTES)?;
        if self.base == 0 {
            return None;
        }
        self.used = end;
        Some(self.base + start)
    }
}

/// Calls under way, by token.
#[derive(Debug, Default)]
pub(crate) struct Callouts {
    last_token: u32,
    pub(crate) open: Map<u32, ContextId>,
    pub(crate) grpc: Map<u32, Ongoing>,
    /// Root contexts have some for the shard to pick up.
    pub(crate) root_waiting: bool,
}

impl Callouts {
    /// A token that no open call has; never 0.
    pub(crate) fn next_token(&mut self) -> u32 {
        loop {
            self.last_token = self.last_token.wrapping_add(1).max(1);
            let token = &self.last_token;
            if !self.open.contains_key(token) && !self.grpc.contains_key(token) {
                return self.last_token;
            }
        }
    }
}

/// The contexts that are over and wait for `proxy_done`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) count: u32,
    /// None of them is to be ended before.
    pub(crate) until: Time,
}

impl Default for Waiting {
    fn default() -> Waiting {
        Waiting { count: 0, until: Time::NEVER }
    }
}

/// A root context's timer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    pub(crate) root: ContextId,
    pub(crate) period_ns: u64,
    pub(crate) next: Time,
}

/// Clocks that advance at every look, so that a guest which spins until time passes gets on: the
/// world's time stands still for the length of a callback.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    realtime_ns: u64,
    monotonic_ns: u64,
}

impl Clock {
    pub(crate) fn realtime_ns(&mut self, world: &dyn World) -> u64 {
        let now = world.unix().us.saturating_mul(1_000);
        self.realtime_ns = now.max(self.realtime_ns.saturating_add(CLOCK_STEP_NS));
        self.realtime_ns
    }

    pub(crate) fn monotonic_ns(&mut self, world: &dyn World) -> u64 {
        let now = world.now().as_ns();
        self.monotonic_ns = now.max(self.monotonic_ns.saturating_add(CLOCK_STEP_NS));
        self.monotonic_ns
    }
}

/// The deadline of the call under way, in two halves.
///
/// The epoch is wall time, and a thread may be kept waiting for a processor longer than any
/// deadline. So when the first half is over, the thread's own clock is looked at, and when the
/// second is, the filter is ended only if it really ran for about that long; else it gets what it
/// missed. A loop on a free processor ends at its deadline to the tick.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    rest_ticks: u64,
    halfway: Option<Option<u64>>,
}

impl Watch {
    /// A watch for a deadline, and the ticks of its first half.
    #[inline]
    pub(crate) fn new(ticks: u64) -> (Watch, u64) {
        let first = ticks / 2;
        (Watch { rest_ticks: ticks - first, halfway: None }, first)
    }

    /// The epoch's deadline came: how many more ticks there are, or `None` for the end.
    pub(crate) fn expired(&mut self, cpu_ns: Option<u64>) -> Option<u64> {
        let Some(halfway) = self.halfway else {
            self.halfway = Some(cpu_ns);
            return Some(self.rest_ticks);
        };
        let ran_ns = cpu_ns?.saturating_sub(halfway?);
        let tick_ns = TICK.as_nanos() as u64;
        // A tick may come just after the look halfway, so that one less was had.
        let enough_ns = (self.rest_ticks - 1) * tick_ns;
        (ran_ns < enough_ns).then(|| (enough_ns - ran_ns).div_ceil(tick_ns))
    }
}

/// How many more lines may be written this second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogBudget {
    second: u64,
    lines: u32,
}

impl LogBudget {
    /// Whether one more line may be written.
    pub(crate) fn take(&mut self, now: Time, lines_max: u32) -> bool {
        let second = now.as_ns() / 1_000_000_000;
        if second != self.second {
            *self = LogBudget { second, lines: 0 };
        }
        self.lines = self.lines.saturating_add(1);
        self.lines <= lines_max
    }
}

/// About what reading a clock costs.
const CLOCK_STEP_NS: u64 = 1_000;
