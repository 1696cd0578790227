//! gRPC calls: whom they go to, what waits on them, how they end.

use std::task::{Context, Poll, Waker};

use super::{IN, OUT, check, check_value, probe_of};
use crate::abi::Status;
use crate::grpc::{GrpcCall, GrpcEvent, Sending};
use crate::property::Probe;
use crate::{FilterSettings, GrpcLimits, PairList};

/// Where a service's and a method's names are.
const NAMES: u64 = 2_048;

fn probe(grpc: GrpcLimits) -> Probe {
    let mut settings = FilterSettings::new("probe");
    settings.grpc_clusters = std::sync::Arc::new(["origin".into()]);
    settings.grpc = grpc;
    let mut p = probe_of(settings);
    p.write(IN as usize, b"origin\x0a\x08\x0a\x06origin");
    p.write(NAMES as usize, b"sim.EchoSay/");
    p
}

/// A call of `sim.Echo/Say` with five bytes of message.
const CALL: [u64; 12] = [IN, 6, NAMES, 8, NAMES + 8, 3, 0, 0, IN, 5, 9, OUT];

/// A stream of `sim.Echo/Say`; its token.
fn open(p: &mut Probe) -> u64 {
    let stream = [IN, 6, NAMES, 8, NAMES + 8, 3, 0, 0, OUT];
    check(p, "proxy_grpc_stream", &stream, Status::Ok);
    u64::from(p.word(OUT as usize))
}

/// What the proxy is given of the call that was made last.
fn call_of(p: &mut Probe) -> GrpcCall {
    p.last_callout.take().and_then(|callout| callout.grpc).expect("a call")
}

#[test]
fn calls_go_to_listed_clusters_by_name_or_in_a_grpc_service() {
    let mut p = probe(GrpcLimits::default());
    check(&mut p, "proxy_grpc_call", &CALL, Status::Ok);
    let callout = p.last_callout.take().expect("a call");
    assert_eq!(&*callout.cluster, "origin");
    assert_eq!(callout.headers.value(b":path"), Some(b"/sim.Echo/Say" as &[u8]));
    assert_eq!(callout.headers.value(b":authority"), Some(b"origin" as &[u8]));
    let call = callout.grpc.expect("it is a gRPC call");
    let context = &mut Context::from_waker(Waker::noop());
    let message = Sending::Message { bytes: b"origi".to_vec(), ends: true };
    assert_eq!((call.streams, call.outgoing.poll_next(context)), (false, Poll::Ready(message)));
    let with = |changes: &[(usize, u64)]| {
        let mut arguments = CALL;
        changes.iter().for_each(|&(at, argument)| arguments[at] = argument);
        arguments
    };
    let service = with(&[(0, IN + 6), (1, 10)]);
    check(&mut p, "proxy_grpc_call", &service, Status::Ok);
    for (changes, status) in [
        (&[(1, 5)][..], Status::ParseFailure),
        (&[(6, IN), (7, 6)], Status::ParseFailure),
        (&[(3, 0)], Status::InternalFailure),
        // "Say/" is no name.
        (&[(5, 4)], Status::InternalFailure),
        (&[(10, 1 << 31)], Status::InternalFailure),
        (&[(0, 1 << 31)], Status::InvalidMemoryAccess),
        (&[(8, 1 << 31)], Status::InvalidMemoryAccess),
        (&[(11, u64::from(u32::MAX))], Status::InvalidMemoryAccess),
    ] {
        check(&mut p, "proxy_grpc_call", &with(changes), status);
    }
}

#[test]
fn a_stream_takes_messages_until_it_is_closed() {
    let mut p = probe(GrpcLimits::default());
    let token = open(&mut p);
    let call = call_of(&mut p);
    let context = &mut Context::from_waker(Waker::noop());
    check(&mut p, "proxy_grpc_send", &[token, IN, 3, 0], Status::Ok);
    check(&mut p, "proxy_grpc_send", &[token + 1, IN, 3, 0], Status::NotFound);
    check(&mut p, "proxy_grpc_close", &[token], Status::Ok);
    check(&mut p, "proxy_grpc_send", &[token, IN, 3, 0], Status::BadArgument);
    let message = Sending::Message { bytes: b"ori".to_vec(), ends: true };
    assert_eq!(call.outgoing.poll_next(context), Poll::Ready(message));
    // The other side may go on.
    assert!(call.outgoing.poll_cancelled(context).is_pending());
    check(&mut p, "proxy_grpc_cancel", &[token], Status::Ok);
    assert!(call.outgoing.poll_cancelled(context).is_ready());
    check(&mut p, "proxy_grpc_cancel", &[token], Status::NotFound);
    check(&mut p, "proxy_grpc_close", &[token], Status::NotFound);
}

#[test]
fn a_call_is_no_stream_and_closing_cancels_it() {
    let mut p = probe(GrpcLimits::default());
    check(&mut p, "proxy_grpc_call", &CALL, Status::Ok);
    let (call, token) = (call_of(&mut p), u64::from(p.word(OUT as usize)));
    check(&mut p, "proxy_grpc_send", &[token, IN, 3, 0], Status::BadArgument);
    check(&mut p, "proxy_grpc_close", &[token], Status::Ok);
    let context = &mut Context::from_waker(Waker::noop());
    assert!(call.outgoing.poll_cancelled(context).is_ready());
}

#[test]
fn calls_messages_and_what_waits_have_limits() {
    let limits = GrpcLimits { calls_max: 2, message_bytes_max: 5, buffered_bytes_max: 8 };
    let mut p = probe(limits);
    let long = [IN, 6, NAMES, 8, NAMES + 8, 3, 0, 0, IN, 6, 9, OUT];
    check(&mut p, "proxy_grpc_call", &long, Status::InternalFailure);
    let token = open(&mut p);
    check(&mut p, "proxy_grpc_send", &[token, IN, 6, 0], Status::BadArgument);
    check(&mut p, "proxy_grpc_send", &[token, IN, 5, 0], Status::Ok);
    check(&mut p, "proxy_grpc_send", &[token, IN, 4, 0], Status::BadArgument);
    check(&mut p, "proxy_grpc_send", &[token, IN, 3, 0], Status::Ok);
    let second = open(&mut p);
    check(&mut p, "proxy_grpc_call", &CALL, Status::InternalFailure);
    assert_eq!(p.limits_hit(), 4);
    // One that the other side has closed answers as if it were open, until its place is wanted.
    p.hear(second as u32, GrpcEvent::Closed { status: 0, message: String::new() });
    check(&mut p, "proxy_grpc_send", &[second, IN, 5, 0], Status::Ok);
    check(&mut p, "proxy_grpc_call", &CALL, Status::Ok);
    check(&mut p, "proxy_grpc_send", &[second, IN, 5, 0], Status::NotFound);
}

#[test]
fn the_end_of_a_context_cancels_its_calls() {
    let mut p = probe(GrpcLimits::default());
    open(&mut p);
    let call = call_of(&mut p);
    let context = &mut Context::from_waker(Waker::noop());
    assert!(call.outgoing.poll_cancelled(context).is_pending());
    p.close();
    assert!(call.outgoing.poll_cancelled(context).is_ready());
}

#[test]
fn what_came_is_read_where_its_callback_runs() {
    let mut p = probe(GrpcLimits::default());
    let fields = || PairList::new([(b"x-a" as &[u8], b"1" as &[u8])].into_iter());
    p.write(IN as usize, b"x-a");
    let (initial, trailing) = ([4, IN, 3], [5, IN, 3]);
    let name = "proxy_get_header_map_value";
    let missing = |p: &mut Probe, map: &[u64; 3]| {
        check(p, name, &[&map[..], &[OUT, OUT + 4]].concat(), Status::BadArgument);
    };
    missing(&mut p, &initial);
    p.event = Some(GrpcEvent::InitialMetadata(fields()));
    check_value(&mut p, name, &initial, b"1");
    missing(&mut p, &trailing);
    p.event = Some(GrpcEvent::TrailingMetadata(fields()));
    check_value(&mut p, name, &trailing, b"1");
    p.event = Some(GrpcEvent::Message(b"hello".to_vec()));
    check_value(&mut p, "proxy_get_buffer_bytes", &[5, 1, 3], b"ell");
    p.event = Some(GrpcEvent::Closed { status: 7, message: "no".to_owned() });
    check(&mut p, "proxy_get_status", &[OUT, OUT + 4, OUT + 8], Status::Ok);
    let (status, at) = (p.word(OUT as usize), p.word(OUT as usize + 4));
    assert_eq!((status, &*p.read(at as usize, 2)), (7, b"no" as &[u8]));
}
