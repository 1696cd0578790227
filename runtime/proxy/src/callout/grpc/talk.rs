//! The two halves of a gRPC call on its stream: what the filter sends, what the endpoint answers.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;

use bytes::Bytes;
use penstock_env::{Env, SendBuf};
use penstock_filter_host::{GrpcCall, GrpcEvent, Outgoing, PairList, Sending};
use penstock_wire::grpc::{
    Code, Kind, MessageError, MessageReader, message_prefix, status_message,
};
use penstock_wire::http1::{BodyLimits, Fields, Known, Limits, Method, ResponseHead};

use super::{Caller, Closing};
use crate::callout::fields_of;
use crate::downstream::Rest;
use crate::exchange::Passage;
use crate::failure::Cause;
use crate::grpc;
use crate::http2::Asked;
use crate::upstream::Up;

/// Carries messages both ways, until the endpoint ends the call; the last event of it. A `single`
/// message is all that goes up.
///
/// # Errors
/// It broke off, or was never begun.
pub(super) async fn both_ways<E: Env>(
    env: &E,
    asked: &Asked<E>,
    single: Option<&[u8]>,
    call: &GrpcCall,
    caller: &Caller,
) -> Result<GrpcEvent, Cause> {
    let mut sending = pin!(send(env, asked, single, &call.outgoing));
    let mut receiving = pin!(receive(asked, call, caller));
    let mut sent = false;
    poll_fn(|context| {
        // Who receives is told why nothing can be sent.
        sent = sent || sending.as_mut().poll(context).is_ready();
        receiving.as_mut().poll(context)
    })
    .await
}

/// Waits for what the filter sends next.
pub(super) async fn next_of(outgoing: &Outgoing) -> Sending {
    poll_fn(|context| outgoing.poll_next(context)).await
}

async fn send<E: Env>(
    env: &E,
    asked: &Asked<E>,
    single: Option<&[u8]>,
    outgoing: &Outgoing,
) -> io::Result<()> {
    let put = async |message: Option<&[u8]>, ends: bool| {
        let mut out = SendBuf::new(env.buffer());
        if let Some(message) = message {
            // Limits keep messages within 1 GiB.
            out.push(&message_prefix(message.len() as u32));
            out.push(message);
        }
        asked.start_send(out, if ends { Rest::End(None) } else { Rest::More });
        poll_fn(|context| asked.poll_sent(context)).await
    };
    if single.is_some() {
        return put(single, true).await;
    }
    loop {
        match next_of(outgoing).await {
            Sending::Message { bytes, ends } => {
                put(Some(&bytes), ends).await?;
                if ends {
                    return Ok(());
                }
            }
            Sending::End => return put(None, true).await,
        }
    }
}

/// Tells the caller what comes, but for the last of it.
async fn receive<E: Env>(
    asked: &Asked<E>,
    call: &GrpcCall,
    caller: &Caller,
) -> Result<GrpcEvent, Cause> {
    let head = head_of(asked).await?;
    let mut passage = Passage::default();
    passage.begin(Up::Http2(asked).decoder(&head, &BodyLimits::default()));
    let bare = passage.decoder.is_done();
    let tell = async |event: GrpcEvent| {
        if call.streams {
            caller.ready().await;
            caller.tell(event);
        }
    };
    // A head that is all there is is the trailers (`PROTOCOL-HTTP2.md`, Trailers-Only).
    let initial = if bare { PairList::default() } else { fields_of(&head) };
    tell(GrpcEvent::InitialMetadata(initial)).await;
    if let Some(closing) = refusal_of(&head, bare) {
        return Ok(closing.into());
    }
    let (mut messages, mut single) = (MessageReader::new(call.message_bytes_max), None);
    while !bare && let Some(piece) = piece_of(asked, &mut passage).await? {
        let mut piece = &piece[..];
        loop {
            match messages.read(&mut piece) {
                Ok(None) => break,
                Ok(Some(message)) if call.streams => tell(GrpcEvent::Message(message)).await,
                Ok(Some(message)) => {
                    if single.replace(message).is_some() {
                        return Ok(Closing::new(Code::Internal, "more than one message").into());
                    }
                }
                Err(error) => return Ok(Closing::new(code_of(error), error.to_string()).into()),
            }
        }
    }
    let trailers = if bare { head.fields() } else { passage.decoder.trailers() };
    tell(GrpcEvent::TrailingMetadata(trailers.iter().collect())).await;
    let closing = Closing::new(grpc::code_in(&head, trailers), message_in(trailers));
    Ok(match (closing.code, single) {
        (Code::Ok, _) if !messages.is_whole() => {
            Closing::new(Code::Internal, "the last message is cut").into()
        }
        (Code::Ok, Some(message)) => GrpcEvent::Message(message),
        (Code::Ok, None) if !call.streams => Closing::new(Code::Internal, "no message").into(),
        _ => closing.into(),
    })
}

/// The last head of the answer.
async fn head_of<E: Env>(asked: &Asked<E>) -> Result<ResponseHead, Cause> {
    let (limits, mut text, mut head) = (Limits::default(), Vec::new(), ResponseHead::new());
    loop {
        let of = (Method::Post, &limits);
        poll_fn(|context| asked.poll_head(context, of, &mut text, &mut head)).await?;
        if !head.is_informational() {
            return Ok(head);
        }
    }
}

async fn piece_of<E: Env>(asked: &Asked<E>, passage: &mut Passage) -> Result<Option<Bytes>, Cause> {
    poll_fn(|context| asked.poll_data(context, passage)).await
}

/// What an answer ends the call with that is no gRPC.
fn refusal_of(head: &ResponseHead, bare: bool) -> Option<Closing> {
    let status = head.status();
    if bare && grpc::ending_in(head.fields()).is_some() {
        return None;
    }
    if status != 200 {
        return Some(Closing::new(Code::of_http_status(status), format!("HTTP status {status}")));
    }
    let kind = head.fields().value_of_known(Known::ContentType).and_then(Kind::of_field);
    (kind != Some(Kind::Grpc)).then(|| Closing::new(Code::Unknown, "an answer that is no gRPC"))
}

/// What a call ends with whose messages can't be read: as gRPC's own libraries have it.
fn code_of(error: MessageError) -> Code {
    match error {
        MessageError::TooLong { .. } => Code::ResourceExhausted,
        MessageError::Compressed | MessageError::UnknownFlag(_) => Code::Internal,
    }
}

fn message_in(trailers: &Fields) -> String {
    trailers.value_of(b"grpc-message").map(status_message).unwrap_or_default()
}
