//! What `h2` is told of a listener's limits.

use std::rc::Rc;
use std::time::Duration;

use h2::server;
use penstock_config::{ByteSize, Http2, Listener, Protocol};

use super::growth::{Growth, Windows};
use super::share::Share;

/// What `h2` is told: nothing is left to its defaults. `streams_max` is what the shard has left.
pub(super) fn builder(config: &Listener, streams_max: u32) -> server::Builder {
    let limits = &config.http2;
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(streams_max)
        .initial_window_size(bytes(limits.stream_window_bytes))
        .initial_connection_window_size(bytes(limits.connection_window_bytes))
        .max_header_list_size(list_bytes_max(config))
        .header_table_size(bytes(limits.header_table_bytes))
        .max_frame_size(FRAME_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .max_concurrent_reset_streams(RESET_STREAMS_KEPT)
        .reset_stream_duration(RESET_STREAMS_FOR)
        .max_pending_accept_reset_streams(RESET_UNSEEN_MAX)
        .max_local_error_reset_streams(Some(limits.errors_max as usize));
    if config.protocol == Protocol::Http {
        // RFC 8441 §3.
        builder.enable_connect_protocol();
    }
    builder
}

/// Bytes of a head that `h2` takes.
pub(super) fn list_bytes_max(config: &Listener) -> u32 {
    bytes(config.limits.head_bytes_max).saturating_mul(HEAD_SLACK)
}

/// The windows of a connection.
pub(super) fn growth(limits: &Http2, share: Rc<Share>) -> Growth {
    let (stream, connection) = (limits.stream_window_bytes, limits.connection_window_bytes);
    let first = Windows { stream: bytes(stream), connection: bytes(connection) };
    let connection = bytes(limits.window_bytes_max);
    Growth::new(first, Windows { stream: connection / 2, connection }, share)
}

fn bytes(size: ByteSize) -> u32 {
    u32::try_from(size.as_u64()).unwrap_or(u32::MAX)
}

/// RFC 9113 §4.2: the least that is allowed, so that streams take turns often.
const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// `h2` answers heads over its limit by itself, where nobody counts them. Twice ours, so that those
/// which are a little too large are ours to refuse.
const HEAD_SLACK: u32 = 2;
/// What one stream may have on its way down in `h2`, beside the one send that waits for room.
const SEND_BUFFER_BYTES_MAX: usize = 32 * 1024;
/// Streams that were reset are remembered, so that what is under way for them is no error.
const RESET_STREAMS_KEPT: usize = 100;
const RESET_STREAMS_FOR: Duration = Duration::from_secs(5);
/// Streams that were reset before their request was looked at.
const RESET_UNSEEN_MAX: usize = 50;
