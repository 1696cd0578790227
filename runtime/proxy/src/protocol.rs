//! Which code serves a connection: one arm per protocol.

use std::rc::Rc;

use penstock_config::Protocol;
use penstock_env::Env;
use penstock_tls::Facts;

use crate::worker::{ConnectionGuard, Worker};
use crate::{http1, secure};

/// Serves `stream`, which came in at `listener`, until its end.
pub(crate) fn serve<E: Env>(
    worker: &Worker<E>,
    listener: usize,
    stream: E::Stream,
    guard: ConnectionGuard<E>,
) {
    if worker.plan().snapshot.listeners[listener].tls.is_some() {
        return secure::serve(worker, listener, stream, guard);
    }
    start(worker, listener, stream, guard, None);
}

/// Serves `stream`, in which everything is in the clear from now on; `facts` are what its TLS
/// handshake agreed on, if it had one.
pub(crate) fn start<E: Env>(
    worker: &Worker<E>,
    listener: usize,
    stream: E::Stream,
    guard: ConnectionGuard<E>,
    facts: Option<Rc<Facts>>,
) {
    match worker.plan().snapshot.listeners[listener].config.protocol {
        Protocol::Http | Protocol::Grpc => http1::serve(worker, listener, stream, guard, facts),
    }
}
