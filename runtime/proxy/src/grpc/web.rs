//! gRPC-Web to gRPC and back: what browsers speak, for endpoints that don't.
//!
//! A request is gRPC from its route on: filters and endpoints see no difference. Its answer becomes
//! gRPC-Web again behind the filters. Not for what the bytes are: that is `wire::grpc`.

use penstock_config::{Action, ClusterProtocol};
use penstock_env::Env;
use penstock_wire::grpc::{Code, Kind, Messages, TextDecoder, put_text, put_trailers};
use penstock_wire::http1::{EditError, Fields, Known, RequestHead, ResponseHead};

use super::STATUS;
use crate::failure::Cause;
use crate::route::Route;
use crate::worker::Plan;

/// Whether calls of gRPC-Web to this route become gRPC: all of its endpoints speak HTTP/2. Those
/// that speak HTTP/1 can't be asked by gRPC, so it is gRPC-Web that they understand, if any.
pub(crate) fn is_turned<E: Env>(plan: &Plan<E>, route: &Route) -> bool {
    let Action::Forward(forward) = &route.config.action else { return false };
    let spoken = |cluster| plan.cluster(cluster).config.protocol;
    forward.shares().iter().all(|share| spoken(share.cluster) == ClusterProtocol::Http2)
}

/// Makes the head of a call of gRPC-Web that of one of gRPC; in which form its answer is wanted.
///
/// # Errors
/// The head would grow over what it may have.
pub(crate) fn open(request: &mut RequestHead, asked: Kind) -> Result<Kind, EditError> {
    let fields = request.fields();
    // `PROTOCOL-WEB.md`, "Text encoding": `Accept` says whether the answer is to be text.
    let ranges = fields.values_of(b"accept").flat_map(|value| value.split(|&byte| byte == b','));
    let named = ranges.filter_map(|range| Kind::of_field(range.trim_ascii()));
    let answer = named.filter(|kind| *kind != Kind::Grpc).max_by_key(|kind| *kind as u8);
    let named = fields.value_of_known(Known::ContentType).unwrap_or_default();
    let renamed = Kind::renamed(named, Kind::Grpc).unwrap_or_default();
    let fields = request.fields_mut();
    fields.set(b"content-type", &renamed)?;
    fields.remove(b"x-grpc-web")?;
    // `PROTOCOL-HTTP2.md`, Requests: it finds proxies that drop trailers.
    request.take_trailers();
    Ok(answer.unwrap_or(asked))
}

/// Makes the head of an answer one of gRPC-Web; whether it was one of gRPC.
///
/// # Errors
/// The head would grow over what it may have.
pub(crate) fn answer(response: &mut ResponseHead, kind: Kind) -> Result<bool, EditError> {
    let named = response.fields().value_of_known(Known::ContentType).unwrap_or_default();
    if Kind::of_field(named) != Some(Kind::Grpc) {
        return Ok(false);
    }
    let renamed = Kind::renamed(named, kind).unwrap_or_default();
    response.fields_mut().set(b"content-type", &renamed)?;
    // It would name fields that come as part of the body.
    response.fields_mut().remove(b"trailer")?;
    Ok(true)
}

/// Makes content of gRPC that of gRPC-Web. Behind the last of it, `end` are the trailers, which
/// become a frame, and what they say.
pub(crate) fn turn(kind: Kind, piece: &mut Vec<u8>, end: Option<(&Fields, Code)>) {
    if let Some((trailers, code)) = end {
        // One that says nothing is told all the same: who waits for a status has no other place.
        let silent = trailers.value_of(STATUS).is_none();
        let status = silent.then_some((STATUS, code.digits().as_bytes()));
        put_trailers(trailers.iter().chain(status), piece);
    }
    if kind == Kind::WebText && !piece.is_empty() {
        let mut text = Vec::new();
        put_text(piece, &mut text);
        *piece = text;
    }
}

/// The body of a request on its way from gRPC-Web to gRPC.
#[derive(Debug, Default)]
pub(crate) struct WebBody {
    text: Option<TextDecoder>,
    messages: Messages,
}

impl WebBody {
    /// A body that has not begun.
    pub(crate) fn new(kind: Kind) -> WebBody {
        let text = (kind == Kind::WebText).then(TextDecoder::default);
        WebBody { text, messages: Messages::default() }
    }

    /// Appends what `raw` holds to `content`; `end` says that there is no more.
    ///
    /// # Errors
    /// It is no base64 where it should be, a message has flags that gRPC does not know (trailers,
    /// which only answers have, among them), or the last message is cut.
    pub(crate) fn read(
        &mut self,
        raw: &[u8],
        end: bool,
        content: &mut Vec<u8>,
    ) -> Result<(), Cause> {
        let start = content.len();
        match &mut self.text {
            Some(text) => text.feed(raw, content).map_err(|_| Cause::InvalidBody)?,
            None => content.extend_from_slice(raw),
        }
        self.messages.feed(&content[start..]);
        let whole = self.messages.is_whole() && self.text.is_none_or(|text| text.is_whole());
        if !self.messages.is_sound() || (end && !whole) {
            return Err(Cause::InvalidBody);
        }
        Ok(())
    }
}
