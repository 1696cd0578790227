//! What is known of an exchange when it ends: counted, and written to the access log.

use std::time::Duration;

use penstock_balance::EndpointId;
use penstock_config::ClusterId;
use penstock_env::{Env, Time, Unix};
use penstock_telemetry::access::{AccessRecord, Peer, Phases, Text, Tls};
use penstock_wire::grpc::{Code, Kind, Messages};
use penstock_wire::http1::Known;

use super::Exchange;
use super::Scratch;
use super::filtered::Sizes;
use crate::failure::Cause;
use crate::grpc;
use crate::metrics::class_of;

/// When a request came, and how much of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// Its first byte.
    pub(crate) first: Time,
    /// The same by the clock on the wall.
    pub(crate) unix: Unix,
    /// The end of its head.
    pub(crate) complete: Time,
    /// Bytes of the head.
    pub(crate) bytes: usize,
}

/// An exchange's facts, as they become known.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) first: Time,
    pub(crate) unix: Unix,
    pub(crate) head_bytes: usize,
    pub(crate) route: Option<u32>,
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) endpoint: Option<EndpointId>,
    pub(crate) attempts: u8,
    pub(crate) status: u16,
    /// What the endpoint answered; 0 where it did not.
    pub(crate) answered: u16,
    pub(crate) cause: Option<Cause>,
    pub(crate) sent: Time,
    pub(crate) phases: Phases,
    pub(crate) bytes_out: u64,
    /// Those among them that are heads.
    pub(crate) heads_out: u64,
    /// The kind of gRPC call that the request is, if it is one.
    pub(crate) call: Option<Kind>,
    /// The form that the answer takes, of a call that came as gRPC-Web and became gRPC.
    pub(crate) web: Option<Kind>,
    /// How the call ended.
    pub(crate) code: Option<Code>,
}

impl Record {
    /// A request that has just arrived.
    pub(crate) fn new(arrival: Arrival) -> Record {
        Record {
            first: arrival.first,
            unix: arrival.unix,
            head_bytes: arrival.bytes,
            route: None,
            cluster: None,
            endpoint: None,
            attempts: 0,
            status: 0,
            answered: 0,
            cause: None,
            sent: arrival.complete,
            phases: Phases {
                head_us: us(arrival.complete.since(arrival.first)),
                ..Phases::default()
            },
            bytes_out: 0,
            heads_out: 0,
            call: None,
            web: None,
            code: None,
        }
    }

    /// Counts time that was waited for a permit.
    pub(crate) fn add_queue(&mut self, time: Duration) {
        self.phases.queue_us = self.phases.queue_us.saturating_add(us(time));
    }

    /// Counts time that connecting took.
    pub(crate) fn add_connect(&mut self, time: Duration) {
        self.phases.connect_us = self.phases.connect_us.saturating_add(us(time));
    }

    /// Counts the head of an answer, of this many bytes; those `apart` are in no send.
    pub(crate) fn wrote_head(&mut self, bytes: usize, apart: bool) {
        self.heads_out += bytes as u64;
        self.bytes_out += if apart { bytes as u64 } else { 0 };
    }

    /// Counts an answer of ours: its head's bytes, and those of the send that it goes with.
    pub(crate) fn answer(&mut self, status: u16, (head, sent): (usize, usize), apart: bool) {
        self.status = status;
        self.wrote_head(head, apart);
        self.bytes_out += sent as u64;
    }

    /// What went by, as filters are told.
    pub(crate) fn sizes(&self, request_body: u64) -> Sizes {
        Sizes {
            request_head: self.head_bytes as u64,
            request_body,
            response_heads: self.heads_out,
            response_body: self.bytes_out.saturating_sub(self.heads_out),
        }
    }

    /// Whether the endpoint answered that it can't serve.
    pub(crate) fn is_unserved(&self) -> bool {
        let call_ended = self.answered == 200 && self.code == Some(Code::Unavailable);
        matches!(self.answered, 502..=504) || call_ended
    }

    /// What counts the messages of a body: of calls whose messages are there to be seen.
    pub(crate) fn counted(&self) -> Option<Messages> {
        let seen = self.call == Some(Kind::Grpc) || self.web.is_some();
        seen.then(Messages::default)
    }
}

impl<E: Env> Exchange<'_, E> {
    /// Counts what the codec let through or dropped.
    pub(crate) fn note_head(&self, scratch: &Scratch) {
        let request = &scratch.request;
        if request.waived().is_none() && request.dropped_count() == 0 {
            return;
        }
        if !request.waived().is_none() {
            self.count_waived();
        }
        let block = self.plan.snapshot.process.shard(self.worker.shard());
        let ids = &self.worker.schemas().process;
        block.add(ids.dropped_fields, u64::from(request.dropped_count()));
    }

    /// Counts what the config lets through.
    pub(crate) fn count_waived(&self) {
        let block = self.plan.snapshot.process.shard(self.worker.shard());
        block.increment(self.worker.schemas().process.waived);
    }

    /// Counts the exchange, and logs it if there is a log.
    pub(crate) fn finish(&self, scratch: &Scratch) {
        let (record, now) = (&self.record, self.worker.env().now());
        let routes = &self.listener.routes;
        let metrics = match record.route {
            Some(index) => &routes.routes()[index as usize].metrics,
            None => routes.unmatched(),
        };
        let (block, ids) = (metrics.shard(self.worker.shard()), &self.worker.schemas().route);
        let total_us = now.since(record.first).as_micros() as u64;
        let bytes_in = record.head_bytes as u64 + scratch.upload.received_bytes;
        block.increment(ids.responses.at(class_of(record.status)));
        if let Some(code) = self.code() {
            block.increment(ids.calls.at(code as usize));
            grpc::stats::count(self, scratch, code, total_us);
        }
        block.record(ids.duration, total_us);
        block.add(ids.bytes_in, bytes_in);
        block.add(ids.bytes_out, record.bytes_out);
        self.worker.log(self.plan, |entry| self.fill(entry, scratch, total_us, bytes_in));
    }

    /// How the call ended, if it was one.
    fn code(&self) -> Option<Code> {
        let cut = || self.record.cause.map_or(Code::Unknown, grpc::code_of);
        self.record.call.map(|_| self.record.code.unwrap_or_else(cut))
    }

    fn fill(&self, entry: &mut AccessRecord, scratch: &Scratch, total_us: u64, bytes_in: u64) {
        let (record, request) = (&self.record, &scratch.request);
        let endpoint = record.cluster.zip(record.endpoint).map(|(cluster, endpoint)| {
            Peer::from(self.plan.cluster(cluster).balancer.endpoint(endpoint).address())
        });
        entry.begin(record.unix);
        entry.total_us = total_us;
        entry.phases = record.phases;
        entry.bytes_in = bytes_in;
        entry.bytes_out = record.bytes_out;
        entry.downstream = self.down.peer().into();
        entry.client = scratch.client;
        entry.endpoint = endpoint.unwrap_or_default();
        entry.snapshot = self.plan.snapshot.generation;
        entry.route = record.route;
        entry.cluster = record.cluster.map(|cluster| cluster.0 as u16);
        entry.cause = record.cause.map(|cause| cause.index() as u16);
        entry.listener = self.down.listener() as u16;
        entry.status = record.status;
        entry.attempts = record.attempts;
        entry.protocol = self.down.protocol(request);
        entry.code = self.code().map(|code| code as u8);
        let fields = request.fields();
        entry.put_all([
            request.method_name(),
            request.authority().unwrap_or_default(),
            request.path_and_query(),
            fields.value_of_known(Known::UserAgent).unwrap_or_default(),
            fields.value_of_known(Known::Referer).unwrap_or_default(),
        ]);
        if let Some(facts) = self.down.secure() {
            entry.tls = Some(Tls { suite: facts.suite.index(), resumed: facts.resumed });
            entry.put(Text::Sni, facts.server_name.as_deref().unwrap_or_default().as_bytes());
        }
        if let Some(detail) = &scratch.detail {
            entry.put(Text::Detail, detail.as_bytes());
        }
    }
}

/// As the log has it: it saturates at 71 minutes.
pub(crate) fn us(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
