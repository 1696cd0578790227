//! TLS on a listener: from accept to the protocol's first byte.

use std::rc::Rc;

use penstock_env::{CloseKind, Env, Stream, Time, Timer, TimerExt, Wake};
use penstock_tls::{ACME_PROTOCOL, Facts, Refusal, SessionError};

use super::handshake::{Failed, Role, shake};
use super::hello;
use crate::failure::Cause;
use crate::protocol;
use crate::snapshot::Entrance;
use crate::worker::{ConnectionGuard, Telling, Worker};

/// Serves a connection to a listener with TLS, once it has said something.
pub(crate) fn serve<E: Env>(
    worker: &Worker<E>,
    listener: usize,
    stream: E::Stream,
    guard: ConnectionGuard<E>,
) {
    let plan = worker.plan();
    let handshake = plan.snapshot.listeners[listener].config.timeouts.tls_handshake;
    park(worker, listener, stream, guard, worker.env().now() + handshake);
}

fn park<E: Env>(
    worker: &Worker<E>,
    listener: usize,
    stream: E::Stream,
    guard: ConnectionGuard<E>,
    until: Time,
) {
    let again = worker.clone();
    worker.env().park(stream, until, move |stream, wake| match wake {
        Wake::Readable => {
            let worker = again.clone();
            again.env().spawn(async move {
                accept(&worker, listener, stream, guard, until).await;
            });
        }
        Wake::Review if !again.is_removed(listener) => {
            park(&again, listener, stream, guard, until);
        }
        Wake::Timeout => {
            again.count_failure(
                &again.plan(),
                Entrance::Listener(listener),
                Cause::DownstreamSilent,
            );
            stream.close(CloseKind::Now);
        }
        // Nothing is owed to a connection that said nothing.
        Wake::Drain | Wake::Review => stream.close(CloseKind::Now),
    });
}

async fn accept<E: Env>(
    worker: &Worker<E>,
    listener: usize,
    stream: E::Stream,
    guard: ConnectionGuard<E>,
    until: Time,
) {
    match handshake(worker, listener, &stream, until).await {
        // RFC 8737 §3: the authority has seen what it wanted.
        Ok(Shaken { session, .. }) if session.protocol() == Some(ACME_PROTOCOL) => {
            stream.close(CloseKind::Now);
        }
        Ok(Shaken { session, early, facts }) => {
            let stream = worker.seal(stream, session, early);
            protocol::start(worker, listener, stream, guard, Some(Rc::new(facts)));
        }
        Err(cause) => {
            worker.count_failure(&worker.plan(), Entrance::Listener(listener), cause);
            stream.close(CloseKind::Now);
        }
    }
}

/// A handshake that succeeded.
struct Shaken {
    session: penstock_tls::Session,
    early: Vec<u8>,
    facts: Facts,
}

async fn handshake<E: Env>(
    worker: &Worker<E>,
    listener: usize,
    stream: &E::Stream,
    until: Time,
) -> Result<Shaken, Cause> {
    let (plan, env) = (worker.plan(), worker.env());
    let ready = &plan.snapshot.listeners[listener];
    // A reload has taken TLS away since: what comes can't be read, nor the rest of it.
    let acceptor = ready.tls.as_ref().ok_or(Cause::TlsFailed)?;
    let timer = env.timer();
    timer.set(until);
    // Until it has said what it wants, it takes nobody's place.
    let mut said = Vec::new();
    match timer.race(hello::collect(stream, &mut said)).await {
        None => return Err(Cause::TlsTimeout),
        Some(Err(hello::Gone)) => return Err(Cause::TlsGone),
        Some(Ok(())) => {}
    }
    let (peer, max) = (stream.peer().ip(), ready.config.limits.handshakes_max);
    let place = worker.handshakes().begin(peer, max, env.now()).ok_or(Cause::HandshakesMax)?;
    let mut session = acceptor.begin().map_err(|_| Cause::Internal)?;
    let role = Role::Answers { hello: said, place: &place };
    let shaken = place.hold(timer.race(shake(worker, stream, &mut session, role))).await;
    let early = match shaken {
        None => return Err(Cause::HandshakeGaveWay),
        Some(None) => return Err(Cause::TlsTimeout),
        Some(Some(Err(Failed::Gone))) => return Err(Cause::TlsGone),
        Some(Some(Err(Failed::Refused(error)))) => {
            // It is ordered, and has not come yet.
            let awaited =
                acceptor.certificates().is_empty() && error.refusal == Refusal::UnknownName;
            worker.tell(Telling::Downstream, |left_out| {
                let (name, reason) = (&ready.config.name, &error.reason);
                let reason = if awaited { "its certificate is not there yet" } else { reason };
                let asked = session.server_name().unwrap_or("no name");
                let peer = stream.peer();
                tracing::info!(
                    listener = %name, %peer, asked, %reason, left_out, "a TLS handshake failed"
                );
            });
            return Err(if awaited { Cause::TlsNoCertificate } else { cause_of(&error) });
        }
        Some(Some(Ok(early))) => early,
    };
    let facts = session.facts(acceptor.tellings()).ok_or(Cause::Internal)?;
    let (block, ids) = (ready.metrics.shard(worker.shard()), &worker.schemas().listener);
    block.increment(ids.handshakes);
    if facts.resumed {
        block.increment(ids.resumed);
    }
    Ok(Shaken { session, early, facts })
}

fn cause_of(error: &SessionError) -> Cause {
    match error.refusal {
        Refusal::NotTls => Cause::NotTls,
        Refusal::NothingInCommon => Cause::TlsNothingInCommon,
        Refusal::UnknownName => Cause::TlsUnknownName,
        Refusal::CertificateMissing => Cause::TlsCertificateMissing,
        Refusal::CertificateRefused => Cause::TlsCertificateRefused,
        Refusal::Alert => Cause::TlsAlert,
        Refusal::Broken => Cause::TlsFailed,
    }
}
