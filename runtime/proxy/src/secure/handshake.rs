//! Handshakes, over streams that are still plain.

use std::cell::Cell;
use std::net::IpAddr;

use penstock_balance::EndpointId;
use penstock_config::{ClusterId, ClusterProtocol};
use penstock_env::{Env, SendBuf, Stream, StreamExt};
use penstock_tls::{Received, Refusal, Session, SessionError};

use super::handshakes::Place;
use crate::failure::{self, Cause};
use crate::worker::{Plan, Telling, Worker};

/// How a handshake failed.
pub(crate) enum Failed {
    /// By what one side sent.
    Refused(SessionError),
    /// The peer went away in the middle of it.
    Gone,
}

/// Who begins a handshake.
pub(crate) enum Role<'a> {
    /// We do.
    Begins,
    /// The peer did, with this, and it has a place among those under way.
    Answers {
        /// The hello, at least.
        hello: Vec<u8>,
        /// Its place.
        place: &'a Place,
    },
}

/// Brings a handshake to its end. What came behind it already, in the clear.
pub(crate) async fn shake<E: Env>(
    worker: &Worker<E>,
    stream: &E::Stream,
    session: &mut Session,
    role: Role<'_>,
) -> Result<Vec<u8>, Failed> {
    let (env, turns) = (worker.env(), worker.turns());
    let (mut plain, mut reads) = (Vec::new(), false);
    let place = match role {
        Role::Begins => None,
        Role::Answers { hello, place } => {
            session.lend(|| env.buffer());
            session.push(&hello);
            Some(place)
        }
    };
    loop {
        if reads {
            if let Some(place) = place {
                place.waits(env.now());
            }
            let received = received(stream).await?;
            if let Some(place) = place {
                place.goes_on();
            }
            // Kept over there: the shard's own buffer can't wait for a turn.
            session.lend(|| env.buffer());
            session.push(&received);
        }
        reads = true;
        let (mut out, mut result) = (SendBuf::new(env.buffer()), None);
        let step = || out.write(|out| result = Some(session.receive(&[], &mut plain, out)));
        turns.take(step).await;
        if let Some(buffer) = session.give_back() {
            env.recycle(buffer);
        }
        // One send at a time; an alert goes out, too.
        stream.sent().await.map_err(|_| Failed::Gone)?;
        stream.start_send(out);
        match result {
            Some(Ok(Received::Handshaking)) => {}
            Some(Ok(Received::Open | Received::Closed)) => {
                // The next send has to find the way free.
                stream.sent().await.map_err(|_| Failed::Gone)?;
                return Ok(plain);
            }
            Some(Err(error)) => return Err(Failed::Refused(error)),
            None => return Err(Failed::Gone),
        }
    }
}

async fn received<S: Stream>(stream: &S) -> Result<S::Chunk, Failed> {
    match stream.recv().await {
        Ok(Some(chunk)) => Ok(chunk),
        Ok(None) | Err(_) => Err(Failed::Gone),
    }
}

/// How far a connection to an endpoint has come: what is to blame where it comes no further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It does not stand.
    #[default]
    Connect,
    /// It waits for the endpoint's part of the TLS handshake.
    Tls,
    /// What the endpoint speaks behind that is waited for.
    Protocol,
}

impl Stage {
    /// What it is called when that takes too long.
    pub(crate) fn timeout(self) -> Cause {
        match self {
            Stage::Connect => Cause::ConnectTimeout,
            Stage::Tls => Cause::UpstreamTlsTimeout,
            Stage::Protocol => Cause::UpstreamNotHttp2,
        }
    }
}

/// Connects to an endpoint, with a handshake where its cluster asks for one. No deadline of its
/// own: `stage` says where it is.
pub(crate) async fn connect<E: Env>(
    worker: &Worker<E>,
    plan: &Plan<E>,
    to: (ClusterId, EndpointId),
    stage: &Cell<Stage>,
) -> Result<E::Stream, Cause> {
    connect_in_stages(worker, plan, to, Introduced::default(), stage).await
}

/// What an endpoint sees of a connection before all else.
#[derive(Default)]
pub(crate) struct Introduced {
    /// Whose address the connection is from, if it is not ours.
    pub(crate) from: Option<IpAddr>,
    /// Bytes that come first, in the clear.
    pub(crate) first: Vec<u8>,
}

/// The same, introduced.
pub(crate) async fn connect_as<E: Env>(
    worker: &Worker<E>,
    plan: &Plan<E>,
    cluster: ClusterId,
    endpoint: EndpointId,
    introduced: Introduced,
) -> Result<E::Stream, Cause> {
    connect_in_stages(worker, plan, (cluster, endpoint), introduced, &Cell::default()).await
}

async fn connect_in_stages<E: Env>(
    worker: &Worker<E>,
    plan: &Plan<E>,
    (cluster, endpoint): (ClusterId, EndpointId),
    Introduced { from, first }: Introduced,
    stage: &Cell<Stage>,
) -> Result<E::Stream, Cause> {
    let (env, ready) = (worker.env(), plan.cluster(cluster));
    let address = ready.balancer.endpoint(endpoint).address();
    let stream = match from {
        None => env.connect(address).await,
        Some(from) => env.connect_from(address, from).await,
    };
    let stream = stream.map_err(|error| failure::of_connect(&error))?;
    if !first.is_empty() {
        stream.start_send(SendBuf::of(first));
    }
    stage.set(Stage::Protocol);
    let Some(dialer) = plan.dialer(cluster) else { return Ok(stream) };
    stage.set(Stage::Tls);
    let (counters, ids) = (ready.metrics.shard(worker.shard()), &worker.schemas().cluster);
    let mut session = dialer.begin(address.ip()).map_err(|_| Cause::UpstreamTlsFailed)?;
    match shake(worker, &stream, &mut session, Role::Begins).await {
        Ok(early) => {
            stage.set(Stage::Protocol);
            counters.increment(ids.handshakes);
            let facts = session.facts(&[]);
            if facts.as_ref().is_some_and(|facts| facts.resumed) {
                counters.increment(ids.resumed);
            }
            // RFC 9113 §3.3: in TLS, ALPN has to agree on it.
            let agreed = facts.is_some_and(|facts| facts.http2);
            if ready.config.protocol == ClusterProtocol::Http2 && !agreed {
                return Err(Cause::UpstreamTlsFailed);
            }
            Ok(worker.seal(stream, session, early))
        }
        Err(Failed::Gone) => Err(Cause::UpstreamTlsFailed),
        Err(Failed::Refused(error)) => {
            let name = &ready.config.name;
            worker.tell(Telling::Endpoints(cluster), |left_out| {
                let reason = &error.reason;
                tracing::warn!(
                    cluster = %name, endpoint = %address, %reason, left_out, "TLS failed"
                );
            });
            Err(match error.refusal {
                Refusal::CertificateRefused => Cause::UpstreamUntrusted,
                _ => Cause::UpstreamTlsFailed,
            })
        }
    }
}
