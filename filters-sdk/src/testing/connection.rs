//! One raw connection on its way through a filter under test.

use penstock_filters_sdk_abi::{Action, BufferType, PeerType, StreamType};

use super::StreamInstance;
use crate::stream::{ClosedBy, StreamFilter};
use crate::sys::native;

/// A connection in a filter's hands. What is said of it is about the half that was shown last: what
/// comes from the client (to begin with, the connection itself) or from the endpoint.
pub struct Connected<'i, F: StreamFilter> {
    instance: &'i StreamInstance<F>,
    context: u32,
    downstream: Shown,
    upstream: Shown,
    last: StreamType,
}

/// What the filter said last of a half.
#[derive(Clone, Copy, Default)]
struct Shown {
    action: u32,
    /// How often the host had been asked to continue it before.
    continued: usize,
}

impl<'i, F: StreamFilter> Connected<'i, F> {
    pub(super) fn open(instance: &'i StreamInstance<F>) -> Self {
        let context = native::with(|double| {
            let context = double.next_context();
            double.streams.insert(context, native::Stream::default());
            context
        });
        instance.runtime.on_context_create(context, instance.root);
        let (shown, last) = (Shown::default(), StreamType::Downstream);
        let mut connected = Self { instance, context, downstream: shown, upstream: shown, last };
        connected.step(last, |this| this.instance.runtime.on_new_connection(context));
        connected
    }

    /// Bytes come from the client, behind those that the filter holds; `end` if they are the last.
    pub fn downstream(&mut self, bytes: impl AsRef<[u8]>, end: bool) {
        let length = self.add(StreamType::Downstream, bytes.as_ref());
        self.step(StreamType::Downstream, |this| {
            this.instance.runtime.on_downstream_data(this.context, length, end)
        });
    }

    /// Bytes come from the endpoint, likewise.
    pub fn upstream(&mut self, bytes: impl AsRef<[u8]>, end: bool) {
        let length = self.add(StreamType::Upstream, bytes.as_ref());
        self.step(StreamType::Upstream, |this| {
            this.instance.runtime.on_upstream_data(this.context, length, end)
        });
    }

    /// Both sides are closed, and the filter has its last look; then its state is gone.
    pub fn close(self, downstream: ClosedBy, upstream: ClosedBy) {
        let runtime = &self.instance.runtime;
        native::with(|double| double.context = self.context);
        runtime.on_upstream_close(self.context, number(upstream));
        runtime.on_downstream_close(self.context, number(downstream));
        runtime.on_log(self.context);
    }

    /// The filter let it go: at once, or after a reply.
    pub fn went_on(&self) -> bool {
        !self.is_held(self.last) && !self.is_closed()
    }

    /// The filter holds it.
    pub fn waits(&self) -> bool {
        self.is_held(self.last) && !self.is_closed()
    }

    /// The filter closed the connection.
    pub fn is_closed(&self) -> bool {
        self.with_stream(|stream| stream.closed)
    }

    /// What went on of the bytes that were shown last; nothing while the filter holds them.
    pub fn passed(&self) -> Vec<u8> {
        match self.went_on() {
            true => self.with_stream(|stream| stream.bodies.get(&buffer(self.last)).cloned()),
            false => None,
        }
        .unwrap_or_default()
    }

    fn shown(&mut self, half: StreamType) -> &mut Shown {
        match half {
            StreamType::Upstream => &mut self.upstream,
            _ => &mut self.downstream,
        }
    }

    fn is_held(&self, half: StreamType) -> bool {
        let shown = match half {
            StreamType::Upstream => self.upstream,
            _ => self.downstream,
        };
        shown.action == Action::Pause as u32 && self.continued(half) == shown.continued
    }

    fn continued(&self, half: StreamType) -> usize {
        self.with_stream(|stream| stream.continued.iter().filter(|one| **one == half).count())
    }

    fn step(&mut self, half: StreamType, callback: impl FnOnce(&Self) -> u32) {
        native::with(|double| double.context = self.context);
        let continued = self.continued(half);
        let action = callback(self);
        *self.shown(half) = Shown { action, continued };
        self.last = half;
    }

    /// What is shown next: what is held, and behind it what is new.
    fn add(&self, half: StreamType, bytes: &[u8]) -> usize {
        let held = self.is_held(half);
        self.with_stream(|stream| {
            let shown = stream.bodies.entry(buffer(half)).or_default();
            if !held {
                shown.clear();
            }
            shown.extend_from_slice(bytes);
            shown.len()
        })
    }

    fn with_stream<T>(&self, action: impl FnOnce(&mut native::Stream) -> T) -> T {
        native::with(|double| {
            action(double.streams.get_mut(&self.context).expect("it lives as long as this"))
        })
    }
}

impl<F: StreamFilter> Drop for Connected<'_, F> {
    fn drop(&mut self) {
        self.instance.runtime.on_delete(self.context);
        native::with(|double| double.streams.remove(&self.context));
    }
}

fn buffer(half: StreamType) -> u32 {
    match half {
        StreamType::Upstream => BufferType::UpstreamData as u32,
        _ => BufferType::DownstreamData as u32,
    }
}

fn number(by: ClosedBy) -> u32 {
    match by {
        ClosedBy::Peer => PeerType::Remote as u32,
        ClosedBy::Proxy => PeerType::Local as u32,
        ClosedBy::Unknown => PeerType::Unknown as u32,
    }
}
