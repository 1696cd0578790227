//! Who is connected: so many at a time, and who has not shown the token gives way.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::task::{AbortHandle, JoinSet};

/// Admin connections at a time.
pub(crate) const CONNECTIONS_MAX: usize = 64;

/// Whether whoever is at the other end of a connection may be there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known(Arc<AtomicBool>);

impl Known {
    /// From now on.
    pub(crate) fn set(&self) {
        self.0.store(true, Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// The connections that are open.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    tasks: JoinSet<()>,
    /// In the order in which they came; some have shown the token since.
    strangers: VecDeque<(AbortHandle, Known)>,
}

impl Guests {
    /// Takes another one in.
    pub(crate) fn add(&mut self, known: Known, serve: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(serve);
        self.strangers.push_back((task, known));
    }

    /// Waits until there is room for one more. The stranger who is there for longest makes some at
    /// once, so that connections which show no token can't keep out one that will.
    pub(crate) async fn make_room(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.strangers.retain(|(task, known)| !known.is_set() && !task.is_finished());
        if self.tasks.len() < CONNECTIONS_MAX {
            return;
        }
        if let Some((task, _)) = self.strangers.pop_front() {
            task.abort();
        }
        self.tasks.join_next().await;
    }
}
