//! One JSON object per line. Times of phases are in microseconds; what is not known is left out.

use super::civil::Civil;
use super::escape;
use super::format::Names;
use super::number::{self, decimal, two_digits};
use super::record::{AccessRecord, Peer, Text, Tls};

/// Appends the line.
pub(super) fn write(record: &AccessRecord, names: &Names, out: &mut Vec<u8>) {
    time(record, out);
    match names.service(record) {
        None => string(out, b",\"listener\":\"", names.listener(record).as_bytes()),
        Some(service) => string(out, b",\"service\":\"", service.as_bytes()),
    }
    optional(out, b",\"route\":\"", names.route(record));
    optional(out, b",\"cluster\":\"", names.cluster(record));
    if let Some(client) = record.client {
        out.extend_from_slice(b",\"client\":\"");
        number::ip(out, client);
        out.push(b'"');
    }
    peer(out, b",\"downstream\":\"", record.downstream);
    peer(out, b",\"endpoint\":\"", record.endpoint);
    string(out, b",\"protocol\":\"", record.protocol.as_str().as_bytes());
    text(out, b",\"method\":\"", record.text(Text::Method));
    text(out, b",\"host\":\"", record.text(Text::Host));
    text(out, b",\"path\":\"", record.text(Text::Path));
    text(out, b",\"user_agent\":\"", record.text(Text::UserAgent));
    text(out, b",\"referer\":\"", record.text(Text::Referer));
    if let Some(agreed) = record.tls {
        tls(record, agreed, names, out);
    }
    let phases = &record.phases;
    number(out, b",\"status\":", record.status);
    optional(out, b",\"grpc_status\":\"", names.code(record));
    number(out, b",\"attempts\":", record.attempts);
    number(out, b",\"bytes_in\":", record.bytes_in);
    number(out, b",\"bytes_out\":", record.bytes_out);
    number(out, b",\"total_us\":", record.total_us);
    number(out, b",\"head_us\":", phases.head_us);
    number(out, b",\"filters_us\":", phases.filters_us);
    number(out, b",\"queue_us\":", phases.queue_us);
    number(out, b",\"connect_us\":", phases.connect_us);
    number(out, b",\"first_byte_us\":", phases.first_byte_us);
    optional(out, b",\"cause\":\"", names.cause(record));
    text(out, b",\"detail\":\"", record.text(Text::Detail));
    if record.trace_id != [0; 16] {
        out.extend_from_slice(b",\"trace_id\":\"");
        number::hex(out, &record.trace_id);
        out.push(b'"');
    }
    if record.is_any_cut() {
        cut(record, out);
    }
    out.extend_from_slice(b"}\n");
}

fn tls(record: &AccessRecord, agreed: Tls, names: &Names, out: &mut Vec<u8>) {
    let (version, suite) = names.tls(agreed);
    string(out, b",\"tls\":\"", version.as_bytes());
    string(out, b",\"cipher\":\"", suite.as_bytes());
    text(out, b",\"sni\":\"", record.text(Text::Sni));
    out.extend_from_slice(if agreed.resumed {
        b",\"resumed\":true"
    } else {
        b",\"resumed\":false"
    });
}

/// RFC 3339 §5.6.
#[inline]
fn time(record: &AccessRecord, out: &mut Vec<u8>) {
    let Civil { year, month, day, hour, minute, second, us } = Civil::new(record.start);
    out.extend_from_slice(b"{\"time\":\"");
    number::year(out, year);
    let [a, b] = two_digits(month);
    let [c, d] = two_digits(day);
    let [e, f] = two_digits(hour);
    let [g, h] = two_digits(minute);
    let [i, j] = two_digits(second);
    let [.., k, l, m, n, o, p] = number::padded(us);
    out.extend_from_slice(&[
        b'-', a, b, b'-', c, d, b'T', e, f, b':', g, h, b':', i, j, b'.', k, l, m, n, o, p, b'Z',
        b'"',
    ]);
}

#[inline]
fn number<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: impl Into<u64>) {
    out.extend_from_slice(key);
    decimal(out, value.into());
}

#[inline]
fn string<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: &[u8]) {
    out.extend_from_slice(key);
    escape::json(out, value);
    out.push(b'"');
}

#[inline]
fn text<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: &[u8]) {
    if !value.is_empty() {
        string(out, key, value);
    }
}

#[inline]
fn optional<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: Option<&str>) {
    if let Some(value) = value {
        string(out, key, value.as_bytes());
    }
}

#[inline]
fn peer<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], peer: Peer) {
    if peer != Peer::None {
        out.extend_from_slice(key);
        number::peer(out, peer);
        out.push(b'"');
    }
}

#[cold]
fn cut(record: &AccessRecord, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"cut\":[");
    for text in Text::ALL.into_iter().filter(|&text| record.is_cut(text)) {
        out.push(b'"');
        out.extend_from_slice(text.as_str().as_bytes());
        out.extend_from_slice(b"\",");
    }
    out.pop();
    out.push(b']');
}
