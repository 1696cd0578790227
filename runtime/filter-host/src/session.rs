//! The seam to the proxy: what a filter can see and change of the exchange it runs for.
//!
//! The proxy implements [`Session`] over its own state and lends it to the chain for the time of
//! one call. Nothing here may call back into the chain: the filter's instance is busy.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::PairList;
use crate::abi::MapType;
use crate::abi::pairs::Pairs;
use crate::grpc::GrpcCall;

/// One exchange, as its filters see it.
pub trait Session {
    /// A map of fields; `None` when the exchange has no such map now: trailers before they came,
    /// a response before it began. Only the four maps of request and response are asked for.
    ///
    /// Pseudo-fields (`:method`, `:path`, `:authority`, `:scheme`, `:status`) are part of the
    /// heads, on HTTP/1 too.
    fn headers(&mut self, map: MapType) -> Option<&mut dyn HeaderMap>;

    /// Appends the property's value to `out` and answers true; false when there is no such
    /// property. Integers are 8 bytes little-endian, booleans one byte, as Envoy has them.
    /// `plugin_name`, `plugin_root_id` and `plugin_vm_id` never come here.
    fn property(&self, path: &[&[u8]], out: &mut Vec<u8>) -> bool;

    /// Sets a property; false when it can't be set. A path of no known meaning is stored with
    /// the exchange, and [`Session::property`] finds it again.
    fn set_property(&mut self, path: &[&[u8]], value: &[u8]) -> bool;

    /// The filter wants the route chosen anew. Changing request fields alone implies it already.
    fn clear_route(&mut self) {}
}

/// Fields of a head or of trailers, in order, names compared without regard to case.
pub trait HeaderMap {
    /// How many fields there are; repeated names count each time.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes all names and values have together.
    fn bytes(&self) -> usize;

    /// The first value of the field.
    fn value(&self, name: &[u8]) -> Option<&[u8]>;

    /// Shows every field, in order, as often as [`HeaderMap::len`] says.
    fn for_each(&self, visit: &mut dyn FnMut(&[u8], &[u8]));

    /// Adds a field after the others.
    ///
    /// # Errors
    /// When the field can't be sent, or the map not be changed any more; nothing is changed then.
    fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadField>;

    /// Sets the first field of that name and removes its repetitions; adds it if there is none.
    ///
    /// # Errors
    /// As [`HeaderMap::add`].
    fn replace(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadField>;

    /// Removes every field of that name; it's no error if there is none.
    ///
    /// # Errors
    /// When the map can't do without it (`:method`), or not be changed any more.
    fn remove(&mut self, name: &[u8]) -> Result<(), BadField>;

    /// Puts these fields in the place of all.
    ///
    /// # Errors
    /// As [`HeaderMap::add`]; nothing is changed then.
    fn replace_all(&mut self, fields: Pairs<'_>) -> Result<(), BadField>;
}

/// Why a field was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadField {
    /// The name is no token (RFC 9110 §5.6.2), nor a pseudo-field that fits this map.
    Name,
    /// The value has bytes that no field value may have (RFC 9110 §5.5): CR, LF, NUL.
    Value,
    /// The map would grow beyond its limit.
    OverLimit,
    /// The head was sent already, or the field is the proxy's own to set.
    Fixed,
}

/// Body bytes that a filter has in its hands.
pub trait Body {
    /// How many bytes there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the bytes from `start` on into the whole of `into`.
    ///
    /// The caller keeps `start + into.len()` within [`Body::len`].
    fn copy(&self, start: usize, into: &mut [u8]);

    /// Puts `bytes` in the place of `range`, which lies within [`Body::len`].
    ///
    /// # Errors
    /// When the body would grow beyond its limit; nothing is changed then.
    fn splice(&mut self, range: Range<usize>, bytes: &[u8]) -> Result<(), OverLimit>;
}

/// A body would have grown beyond what the proxy buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverLimit;

impl Body for Vec<u8> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn copy(&self, start: usize, into: &mut [u8]) {
        into.copy_from_slice(&self[start..start + into.len()]);
    }

    fn splice(&mut self, range: Range<usize>, bytes: &[u8]) -> Result<(), OverLimit> {
        Vec::splice(self, range, bytes.iter().copied());
        Ok(())
    }
}

/// An answer that a filter, or the policy for a failed one, gives in the origin's place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalResponse {
    /// The status: 200 to 599.
    pub status: u16,
    /// Why, for the log; never sent.
    pub details: String,
    /// Fields to add.
    pub headers: PairList,
    /// The body.
    pub body: Vec<u8>,
    /// What a gRPC exchange ends with.
    pub grpc_status: Option<u32>,
    /// The filter whose failure this answers; `None` when the filter meant to answer.
    pub failed: Option<Arc<str>>,
}

/// An HTTP request that a filter wants made, or a gRPC call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callout {
    /// What the answer is delivered under.
    pub token: u32,
    /// Which filter of the chain asks, by its place; 0 for root contexts.
    pub link: usize,
    /// The cluster's name ...
    pub cluster: Arc<str>,
    /// ... and its place in [`crate::FilterSettings::clusters`], or `grpc_clusters`.
    pub cluster_index: usize,
    /// The fields; `:method`, `:path` and `:authority` are among them.
    pub headers: PairList,
    /// The body, whole; none of a gRPC call, which has messages.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: PairList,
    /// How long it may take; `None` leaves it to the proxy.
    pub timeout: Option<Duration>,
    /// How large the answer may be.
    pub answer_bytes_max: usize,
    /// What it has more as a gRPC call. Its fields are the metadata, beside the pseudo-fields.
    pub grpc: Option<GrpcCall>,
}

/// The answer to a [`Callout`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalloutResponse {
    /// The fields; `:status` is among them.
    pub headers: PairList,
    /// The body, whole.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: PairList,
}

/// Why a [`Callout`] has no answer. The filter sees the one that is made up for it, and the text as
/// the status message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalloutFailure {
    /// No endpoint could be reached, or it broke off.
    Unreachable,
    /// The time ran out.
    Timeout,
    /// The answer was larger than the proxy takes.
    TooLarge,
}

impl CalloutFailure {
    /// What `proxy_get_status` tells the filter.
    pub const fn message(self) -> &'static str {
        match self {
            CalloutFailure::Unreachable => "upstream unreachable",
            CalloutFailure::Timeout => "timeout",
            CalloutFailure::TooLarge => "response too large",
        }
    }

    /// What the filter reads in an answer's place, as in Envoy: a 503 or 504 with the reason as its
    /// text, for most filters look at `:status` and at nothing else; of one that was too large, no
    /// fields at all.
    pub fn answer(self) -> CalloutResponse {
        let status: &[u8] = match self {
            CalloutFailure::Unreachable => b"503",
            CalloutFailure::Timeout => b"504",
            CalloutFailure::TooLarge => return CalloutResponse::default(),
        };
        let body = self.message().as_bytes();
        let length = body.len().to_string();
        let fields = [
            (&b":status"[..], status),
            (b"content-length", length.as_bytes()),
            (b"content-type", b"text/plain"),
        ];
        CalloutResponse {
            headers: PairList::new(fields.into_iter()),
            body: body.to_vec(),
            ..CalloutResponse::default()
        }
    }
}
