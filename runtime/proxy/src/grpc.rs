//! What an exchange does otherwise for a gRPC call: how long it has, how a failure is said, and
//! what `web` does for browsers; `stats` counts it by its method.
//!
//! Not for what gRPC's bytes mean: that is `wire::grpc`. A call that runs its course is an exchange
//! as any other.

pub(crate) mod stats;
pub(crate) mod web;

use std::time::Duration;

use penstock_wire::grpc::{Code, Kind, Pushback, Timeout, put_status_message};
use penstock_wire::http1::{EditError, Fields, Known, Method, RequestHead, ResponseHead};

use crate::failure::{Cause, Next};

/// The field in which a caller says how long it waits.
const TIMEOUT: &[u8] = b"grpc-timeout";
/// The field, mostly of trailers, that says how a call ended.
const STATUS: &[u8] = b"grpc-status";

/// Which kind of call the request is; `None` if it is none.
#[inline]
pub(crate) fn kind_of(request: &RequestHead) -> Option<Kind> {
    if request.method() != Method::Post {
        return None;
    }
    Kind::of_field(request.fields().value_of_known(Known::ContentType)?)
}

/// How long the caller waits, if it says so. What can't be read is the endpoint's to refuse.
pub(crate) fn timeout_of(request: &RequestHead) -> Option<Duration> {
    Timeout::of_field(request.fields().value_of(TIMEOUT)?).map(Timeout::duration)
}

/// Tells the endpoint how long the caller still waits, if the caller told us.
///
/// # Errors
/// The head would grow over what it may have.
pub(crate) fn pass_on(request: &mut RequestHead, left: Duration) -> Result<(), EditError> {
    if timeout_of(request).is_none() {
        return Ok(());
    }
    let mut value = Vec::new();
    Timeout::of(left).put(&mut value);
    request.fields_mut().set(TIMEOUT, &value)
}

/// How an endpoint says that a call ended: in its trailers, or in the head where it has no others.
/// One that says nothing has failed, as its HTTP status says.
pub(crate) fn code_in(head: &ResponseHead, trailers: &Fields) -> Code {
    let said = trailers.value_of(STATUS).or_else(|| head.fields().value_of(STATUS));
    said.and_then(Code::of_field).unwrap_or_else(|| Code::of_http_status(head.status()))
}

/// How a call ended, and what that says of another try.
#[derive(Clone, Copy)]
pub(crate) struct Ending {
    pub(crate) code: Code,
    pub(crate) pushback: Option<Pushback>,
}

/// The end of a call whose fields `find` finds, if they say so.
pub(crate) fn ending_of<'a>(find: impl Fn(&str) -> Option<&'a [u8]>) -> Option<Ending> {
    let code = find("grpc-status").and_then(Code::of_field)?;
    Some(Ending { code, pushback: find("grpc-retry-pushback-ms").map(Pushback::of_field) })
}

/// As [`ending_of`], in these.
pub(crate) fn ending_in(fields: &Fields) -> Option<Ending> {
    ending_of(|name| fields.value_of(name.as_bytes()))
}

/// What a caller is told of a failure of ours.
pub(crate) fn code_of(cause: Cause) -> Code {
    match cause {
        Cause::RouteTimeout | Cause::UpstreamTimeout | Cause::RequestBodyTimeout => {
            Code::DeadlineExceeded
        }
        Cause::HeadTooLarge
        | Cause::LineTooLong
        | Cause::TooManyFields
        | Cause::BodyTooLarge
        | Cause::TrailersTooLarge => Code::ResourceExhausted,
        Cause::DownstreamGone => Code::Cancelled,
        Cause::Internal => Code::Internal,
        cause => match cause.next() {
            Next::Respond(status) | Next::RespondAndClose(status) => Code::of_http_status(status),
            Next::Close => Code::Unavailable,
        },
    }
}

/// An answer that is head and trailers in one (`PROTOCOL-HTTP2.md`, Trailers-Only).
pub(crate) struct TrailersOnly {
    content_type: Vec<u8>,
    code: Code,
    message: Vec<u8>,
}

impl TrailersOnly {
    /// The answer to `request`, in its own form; or in that of gRPC-Web which its caller wants.
    pub(crate) fn new(
        request: &RequestHead,
        web: Option<Kind>,
        code: Code,
        message: &str,
    ) -> TrailersOnly {
        let asked = request.fields().value_of_known(Known::ContentType).unwrap_or_default();
        let renamed = web.and_then(|kind| Kind::renamed(asked, kind));
        let mut text = Vec::new();
        put_status_message(message.trim_end(), &mut text);
        TrailersOnly {
            content_type: renamed.unwrap_or_else(|| asked.to_vec()),
            code,
            message: text,
        }
    }

    /// What it says.
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// Its fields.
    pub(crate) fn fields(&self) -> [(&[u8], &[u8]); 3] {
        [
            (b"content-type", &self.content_type),
            (STATUS, self.code.digits().as_bytes()),
            (b"grpc-message", &self.message),
        ]
    }
}
