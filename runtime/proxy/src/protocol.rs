//! Which code serves a connection: one arm per protocol.

use penstock_config::Protocol;
use penstock_env::Env;

use crate::http1;
use crate::worker::{ConnectionGuard, Worker};

/// Serves `stream`, which came in at `listener`, until its end.
pub(crate) fn serve<E: Env>(
    worker: &Worker<E>,
    listener: usize,
    stream: E::Stream,
    guard: ConnectionGuard<E>,
) {
    match worker.plan().snapshot.listeners[listener].config.protocol {
        Protocol::Http => http1::serve(worker, listener, stream, guard),
    }
}
