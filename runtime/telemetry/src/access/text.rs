//! nginx' combined format, so that what reads it goes on working, then `key=value` for the rest.

use super::civil::Civil;
use super::escape;
use super::format::Names;
use super::number::{self, decimal, two_digits};
use super::record::{AccessRecord, Peer, Text, Tls};

/// Appends the line.
pub(super) fn write(record: &AccessRecord, names: &Names, out: &mut Vec<u8>) {
    // As nginx has it behind proxies that it trusts (`set_real_ip_from`).
    match (record.client, record.downstream) {
        (Some(ip), _) | (None, Peer::Ip(ip, _)) => number::ip(out, ip),
        (None, other) => number::peer(out, other),
    }
    time(record, out);
    escape::text(out, record.text(Text::Method), b' ');
    out.push(b' ');
    escape::text(out, record.text(Text::Path), b' ');
    out.push(b' ');
    out.extend_from_slice(record.protocol.as_str().as_bytes());
    out.extend_from_slice(b"\" ");
    decimal(out, record.status.into());
    out.push(b' ');
    decimal(out, record.bytes_out);
    out.extend_from_slice(b" \"");
    or_dash(out, record.text(Text::Referer), b'"');
    out.extend_from_slice(b"\" \"");
    or_dash(out, record.text(Text::UserAgent), b'"');
    field(out, b"\" host=", record.text(Text::Host));
    match names.service(record) {
        None => field(out, b" listener=", names.listener(record).as_bytes()),
        Some(service) => field(out, b" service=", service.as_bytes()),
    }
    field(out, b" route=", names.route(record).unwrap_or_default().as_bytes());
    field(out, b" cluster=", names.cluster(record).unwrap_or_default().as_bytes());
    field(out, b" cause=", names.cause(record).unwrap_or_default().as_bytes());
    out.extend_from_slice(b" endpoint=");
    number::peer(out, record.endpoint);
    out.extend_from_slice(b" attempts=");
    decimal(out, record.attempts.into());
    out.extend_from_slice(b" time=");
    decimal(out, record.total_us / 1_000_000);
    let [.., a, b, c, d, e, f] = number::padded(record.total_us % 1_000_000);
    out.extend_from_slice(&[b'.', a, b, c, d, e, f]);
    out.extend_from_slice(b" trace=");
    if record.trace_id == [0; 16] {
        out.push(b'-');
    } else {
        number::hex(out, &record.trace_id);
    }
    // At the end of the line: of what came through a proxy, of calls, and of what came over TLS.
    if record.client.is_some() {
        out.extend_from_slice(b" downstream=");
        number::peer(out, record.downstream);
    }
    if let Some(code) = names.code(record) {
        field(out, b" grpc_status=", code.as_bytes());
    }
    if let Some(agreed) = record.tls {
        tls(record, agreed, names, out);
    }
    // Only where a filter had something to say.
    if !record.text(Text::Detail).is_empty() {
        field(out, b" detail=", record.text(Text::Detail));
    }
    out.push(b'\n');
}

fn tls(record: &AccessRecord, agreed: Tls, names: &Names, out: &mut Vec<u8>) {
    let (version, suite) = names.tls(agreed);
    field(out, b" tls=", version.as_bytes());
    field(out, b" cipher=", suite.as_bytes());
    field(out, b" sni=", record.text(Text::Sni));
    out.extend_from_slice(if agreed.resumed { b" resumed=yes" } else { b" resumed=no" });
}

/// What lies between the address and the request line: two fields that nobody fills, and when.
#[inline]
fn time(record: &AccessRecord, out: &mut Vec<u8>) {
    let Civil { year, month, day, hour, minute, second, .. } = Civil::new(record.start);
    let [a, b] = two_digits(day);
    let [c, d, e] = MONTHS[month as usize - 1];
    out.extend_from_slice(&[b' ', b'-', b' ', b'-', b' ', b'[', a, b, b'/', c, d, e, b'/']);
    number::year(out, year);
    let [a, b] = two_digits(hour);
    let [c, d] = two_digits(minute);
    let [e, f] = two_digits(second);
    out.extend_from_slice(&[b':', a, b, b':', c, d, b':', e, f]);
    out.extend_from_slice(b" +0000] \"");
}

#[inline]
fn field<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: &[u8]) {
    out.extend_from_slice(key);
    or_dash(out, value, b' ');
}

#[inline]
fn or_dash(out: &mut Vec<u8>, bytes: &[u8], also: u8) {
    escape::text(out, if bytes.is_empty() { b"-" } else { bytes }, also);
}

const MONTHS: [[u8; 3]; 12] = [
    *b"Jan", *b"Feb", *b"Mar", *b"Apr", *b"May", *b"Jun", *b"Jul", *b"Aug", *b"Sep", *b"Oct",
    *b"Nov", *b"Dec",
];
