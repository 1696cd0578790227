//! What one exchange needs while it lasts; idle connections have none.

use std::net::IpAddr;

use penstock_filter_host::{Chain, LocalResponse};
use penstock_wire::http1::{RequestHead, ResponseHead};

use super::body::Passage;
use crate::large_heads::LargeHead;

/// Heads and buffers above this many bytes go back to the heap.
const KEPT_BYTES_MAX: usize = 32 * 1024;

/// Reused from exchange to exchange: nothing is allocated once it has grown to its work.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The request, and what was edited of it.
    pub(crate) request: RequestHead,
    /// The response, and what was edited of it.
    pub(crate) response: ResponseHead,
    /// Bytes of a head that came in several pieces.
    pub(crate) partial: Vec<u8>,
    /// The path in its normal form, where that is not how it came.
    pub(crate) path: Vec<u8>,
    /// The request's body on its way up.
    pub(crate) upload: Passage,
    /// The response's body on its way down.
    pub(crate) download: Passage,
    /// The request's body so far, as long as it may have to be sent again.
    pub(crate) replay: Vec<u8>,
    /// Content that filters let go before the request was sent.
    pub(crate) held: Vec<u8>,
    /// The filters, between exchanges.
    pub(crate) chain: Chain,
    /// Values of fields that we add.
    pub(crate) values: Vec<u8>,
    /// The authority that was asked for, where the route has put another in its place.
    pub(crate) asked_host: Vec<u8>,
    /// Who asked, where a trusted peer says it.
    pub(crate) client: Option<IpAddr>,
    /// What a filter said of why it answered, or was kept from it.
    pub(crate) detail: Option<Box<str>>,
    /// The request's head in the count of large ones, if it is one.
    pub(crate) large_head: Option<LargeHead>,
}

impl Scratch {
    /// Whether it is worth keeping.
    pub(crate) fn is_small(&self) -> bool {
        let bytes = self.partial.capacity()
            + self.path.capacity()
            + self.replay.capacity()
            + self.values.capacity()
            + self.asked_host.capacity()
            + self.held.capacity()
            + self.request.fields().bytes().len()
            + self.response.fields().bytes().len();
        bytes <= KEPT_BYTES_MAX
    }

    /// Begins another exchange: what is known of the one before is forgotten.
    pub(crate) fn begin(&mut self) {
        (self.client, self.detail) = (None, None);
        self.download.messages = None;
    }

    /// Forgets the exchange, keeps the room.
    pub(crate) fn clear(&mut self) {
        self.request.clear();
        self.response.clear();
        self.partial.clear();
        self.path.clear();
        self.replay.clear();
        self.values.clear();
        self.asked_host.clear();
        self.held.clear();
        (self.client, self.detail, self.large_head) = (None, None, None);
    }
}

/// What a filter says of its answer; behind its name where it failed.
pub(crate) fn detail_of(response: &LocalResponse) -> Option<Box<str>> {
    let details = &response.details;
    match &response.failed {
        Some(filter) => Some(format!("{filter}: {details}").into()),
        None if details.is_empty() => None,
        None => Some(details.as_str().into()),
    }
}
