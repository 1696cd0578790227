//! One JSON object per line. Times of phases are in microseconds; what is not known is left out.

use std::io::Write;

use super::escape;
use super::format::Names;
use super::record::{AccessRecord, Peer, Text};
use super::text::Civil;

/// Appends the line.
pub(super) fn write(record: &AccessRecord, names: &Names, out: &mut Vec<u8>) {
    let Civil { year, month, day, hour, minute, second, us } = Civil::new(record.start);
    // RFC 3339 §5.6. Writing to a `Vec` cannot fail, here and below.
    let _ = write!(
        out,
        "{{\"time\":\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{us:06}Z\""
    );
    string(out, "listener", names.listener(record).as_bytes());
    optional(out, "route", names.route(record));
    optional(out, "cluster", names.cluster(record));
    peer(out, "downstream", record.downstream);
    peer(out, "endpoint", record.endpoint);
    string(out, "protocol", record.protocol.as_str().as_bytes());
    for text in Text::ALL {
        let bytes = record.text(text);
        if !bytes.is_empty() {
            string(out, text.as_str(), bytes);
        }
    }
    let phases = &record.phases;
    for (key, number) in [
        ("status", u64::from(record.status)),
        ("attempts", u64::from(record.attempts)),
        ("bytes_in", record.bytes_in),
        ("bytes_out", record.bytes_out),
        ("total_us", record.total_us),
        ("head_us", phases.head_us.into()),
        ("filters_us", phases.filters_us.into()),
        ("queue_us", phases.queue_us.into()),
        ("connect_us", phases.connect_us.into()),
        ("first_byte_us", phases.first_byte_us.into()),
    ] {
        let _ = write!(out, ",\"{key}\":{number}");
    }
    optional(out, "cause", names.cause(record));
    if record.trace_id != [0; 16] {
        out.extend_from_slice(b",\"trace_id\":\"");
        escape::hex(out, &record.trace_id);
        out.push(b'"');
    }
    if Text::ALL.iter().any(|&text| record.is_cut(text)) {
        out.extend_from_slice(b",\"cut\":[");
        for text in Text::ALL.into_iter().filter(|&text| record.is_cut(text)) {
            let _ = write!(out, "\"{}\",", text.as_str());
        }
        out.pop();
        out.push(b']');
    }
    out.extend_from_slice(b"}\n");
}

fn string(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let _ = write!(out, ",\"{key}\":\"");
    escape::json(out, value);
    out.push(b'"');
}

fn optional(out: &mut Vec<u8>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        string(out, key, value.as_bytes());
    }
}

fn peer(out: &mut Vec<u8>, key: &str, peer: Peer) {
    if peer != Peer::None {
        let _ = write!(out, ",\"{key}\":\"{peer}\"");
    }
}
