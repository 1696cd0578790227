//! Connections of proxies before us: the header of the PROXY protocol, from which on a connection
//! is that of the client whom it names.
//!
//! Who may send one is in the config; a header of anybody else is bytes like any.

use std::net::SocketAddr;

use penstock_env::{
    Address, Chunk, CloseKind, Env, Stream, StreamExt, Time, Timer, TimerExt, Wake,
};
use penstock_wire::proxy_protocol::{Addresses, Parsed, parse};

use crate::failure::Cause;
use crate::secure::{Ends, Secure, SecureStream};
use crate::snapshot::Entrance;
use crate::worker::{ConnectionGuard, Telling, Worker};

/// A connection that is to say who it is from.
pub(crate) struct Introduction<E: Env> {
    pub(crate) worker: Worker<Secure<E>>,
    pub(crate) entrance: Entrance,
    pub(crate) guard: ConnectionGuard<Secure<E>>,
    /// When it has to have said so.
    pub(crate) until: Time,
}

impl<E: Env> Introduction<E> {
    /// Serves the connection once it has said so. Until then it costs a place in a table.
    pub(crate) fn wait(self, stream: SecureStream<E>) {
        let (env, until) = (self.worker.env().clone(), self.until);
        env.park(stream, until, move |stream, wake| match wake {
            Wake::Readable => {
                let env = self.worker.env().clone();
                env.spawn(self.hear(stream));
            }
            Wake::Review => self.wait(stream),
            Wake::Timeout => self.refuse(stream, Cause::ProxyHeaderTimeout),
            // Nothing is owed to a connection that said nothing.
            Wake::Drain => stream.close(CloseKind::Now),
        });
    }

    async fn hear(mut self, stream: SecureStream<E>) {
        let timer = self.worker.env().timer();
        timer.set(self.until);
        let addresses = match timer.race(header(&stream)).await {
            Some(Ok(addresses)) => addresses,
            Some(Err(cause)) => return self.refuse(stream, cause),
            None => return self.refuse(stream, Cause::ProxyHeaderTimeout),
        };
        let stream = match addresses {
            None => stream,
            Some(Addresses { source, destination }) => {
                // IPv4 in IPv6's form is IPv4, as it is where connections come in by themselves.
                let plain = |end: SocketAddr| {
                    Address::Ip(SocketAddr::new(end.ip().to_canonical(), end.port()))
                };
                let (peer, local) = (plain(source), plain(destination));
                stream.introduce(Ends { peer, local })
            }
        };
        match self.worker.admit_source(&mut self.guard, self.entrance, stream.peer().ip()) {
            Ok(()) => self.worker.serve(self.entrance, stream, self.guard),
            Err(cause) => self.refuse(stream, cause),
        }
    }

    fn refuse(&self, stream: SecureStream<E>, cause: Cause) {
        self.worker.count_failure(&self.worker.plan(), self.entrance, cause);
        self.worker.tell(Telling::Introduction, |left_out| {
            let (peer, cause) = (stream.peer(), cause.name());
            tracing::info!(%peer, cause, left_out, "a proxy before us was not understood");
        });
        stream.close(CloseKind::Now);
    }
}

/// Takes the header off the front of the stream; the client's and our end, if it names them.
async fn header<S: Stream>(stream: &S) -> Result<Option<Addresses>, Cause> {
    let mut head = Vec::new();
    loop {
        let received = stream.recv().await.map_err(|_| Cause::DownstreamGone)?;
        let mut chunk = received.ok_or(Cause::ProxyHeaderInvalid)?;
        let before = head.len();
        let seen = if head.is_empty() {
            &chunk[..]
        } else {
            head.extend_from_slice(&chunk);
            &head
        };
        let header = match parse(seen).map_err(|_| Cause::ProxyHeaderInvalid)? {
            Parsed::Complete(header) => header,
            Parsed::Partial { .. } => {
                if before == 0 {
                    head.extend_from_slice(&chunk);
                }
                continue;
            }
        };
        // Without this chunk it was a part: its end is in here.
        let (own, addresses) = (header.bytes - before, header.addresses);
        chunk.advance(own);
        if !chunk.is_empty() {
            stream.unread(chunk);
        }
        return Ok(addresses);
    }
}
