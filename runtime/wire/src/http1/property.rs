//! What must hold for any bytes whatever, shared by the seeded tests and the fuzz targets.
//!
//! Each function panics when a property does not hold, and is silent otherwise.

use std::time::Duration;

use super::date::http_date;
use super::{
    BodyDecoder, BodyError, BodyLimits, Connection, Fields, Framing, Lenient, Limits, Method,
    Parsed, RequestError, RequestHead, RequestOutbound, ResponseError, ResponseHead,
    ResponseOutbound, chunk, parse_request, parse_response, path, request, response, retry_after,
    write_request, write_response,
};

/// Requests: cuts agree, both parsers agree, and what is accepted is rendered without a doubt.
///
/// The first byte of `data` chooses waivers and limits, the rest is the input.
pub fn check_request(data: &[u8]) {
    let Some((&choice, input)) = data.split_first() else { return };
    let (lenient, limits) = (lenient_of(choice), limits_of(choice));
    let mut head = RequestHead::new();
    let answer = parse_request(input, &limits, lenient, &mut head);
    if input.first().is_some_and(|byte| !matches!(byte, b'\r' | b'\n')) {
        let mut slow = RequestHead::new();
        let slowly = request::parse_slowly(input, 0, &limits, lenient, &mut slow);
        assert_eq!(slowly, answer, "the two parsers disagree");
    }
    let mut growing = RequestHead::new();
    for cut in cuts(input.len(), choice) {
        let mut fresh = RequestHead::new();
        let part = parse_request(&input[..cut], &limits, lenient, &mut fresh);
        assert!(part == Ok(Parsed::Partial) || part == answer, "{cut}: {part:?} {answer:?}");
        let part = parse_request(&input[..cut], &limits, lenient, &mut growing);
        assert!(part == Ok(Parsed::Partial) || part == answer, "{cut}: {part:?} {answer:?}");
        if part != Ok(Parsed::Partial) {
            assert_eq!(part.is_ok().then_some(live(growing.fields())), {
                answer.is_ok().then_some(live(head.fields()))
            });
            break;
        }
    }
    if let Ok(Parsed::Complete { head_bytes }) = answer {
        assert!(head_bytes <= input.len() && head_bytes <= limits.head_bytes_max);
        check_path(head.path());
        check_request_rendering(&head, lenient);
        check_edits(&mut head, input);
    }
}

/// A rendered request is strict, and says what the head says.
fn check_request_rendering(head: &RequestHead, lenient: Lenient) {
    let mut outbound = RequestOutbound { host: b"fallback", ..RequestOutbound::of(head) };
    if head.upgrade().is_some() {
        outbound.connection = Connection::Upgrade;
    }
    let mut rendered = Vec::new();
    write_request(head, &outbound, &mut rendered);
    let mut again = RequestHead::new();
    // Only the names with underscores that were let in may need a waiver on the way out.
    let underscore = if lenient.contains(Lenient::UNDERSCORE) { lenient } else { Lenient::NONE };
    let answer = parse_request(&rendered, &WIDE, underscore, &mut again);
    let head_bytes = rendered.len();
    assert_eq!(answer, Ok::<_, RequestError>(Parsed::Complete { head_bytes }));
    assert_eq!(again.method_name(), head.method_name());
    assert_eq!(again.path_and_query(), head.path_and_query());
    assert_eq!(again.framing(), head.framing());
    assert_eq!(again.upgrade(), head.upgrade());
    assert_eq!(again.te_trailers(), head.te_trailers());
    assert_eq!(again.dropped_count(), 0);
    let had_host = head.fields().value_of(b"host").is_some();
    let mut expected = live(head.fields());
    if !had_host {
        let host = head.authority().unwrap_or(b"fallback").to_vec();
        expected.insert(0, (b"Host".to_vec(), host));
    }
    if head.framing() == Framing::None {
        expected.retain(|(name, _)| !name.eq_ignore_ascii_case(b"content-length"));
    }
    assert_eq!(live(again.fields()), expected);
}

/// An edit is refused, or leaves a head that renders to a strict one.
fn check_edits(head: &mut RequestHead, input: &[u8]) {
    let (name, rest) = input.split_at(input.len().min(5));
    let (value, path) = rest.split_at(rest.len().min(9));
    let fields = head.fields_mut();
    if fields.append(name, value).is_ok() {
        assert_eq!(fields.values_of(name).last(), Some(super::token::trim(value)));
    }
    if fields.set(name, path).is_ok() {
        assert_eq!(fields.values_of(name).collect::<Vec<_>>(), [super::token::trim(path)]);
        let index = fields.indexed().last().map_or(0, |(index, _, _)| index);
        let _ = fields.set_value_at(index, value);
        let _ = fields.join(name, value);
    }
    let _ = fields.remove(b"accept");
    let _ = head.set_path_and_query(path);
    let _ = head.set_authority(value);
    let _ = head.set_method(name);
    check_request_rendering(head, Lenient::UNDERSCORE);
}

/// Responses: as for requests. The first byte also chooses the method that was asked with.
pub fn check_response(data: &[u8]) {
    let Some((&choice, input)) = data.split_first() else { return };
    let (lenient, limits) = (lenient_of(choice), limits_of(choice));
    let method = [Method::Get, Method::Head, Method::Connect, Method::Post][choice as usize & 3];
    let mut head = ResponseHead::new();
    let answer = parse_response(input, method, &limits, lenient, &mut head);
    if input.first() == Some(&b'H') {
        let mut slow = ResponseHead::new();
        let slowly = response::parse_slowly(input, method, &limits, lenient, &mut slow);
        assert_eq!(slowly, answer, "the two parsers disagree");
    }
    let mut growing = ResponseHead::new();
    for cut in cuts(input.len(), choice) {
        let mut fresh = ResponseHead::new();
        let part = parse_response(&input[..cut], method, &limits, lenient, &mut fresh);
        assert!(part == Ok(Parsed::Partial) || part == answer, "{cut}: {part:?} {answer:?}");
        let part = parse_response(&input[..cut], method, &limits, lenient, &mut growing);
        assert!(part == Ok(Parsed::Partial) || part == answer, "{cut}: {part:?} {answer:?}");
        if part != Ok(Parsed::Partial) {
            break;
        }
    }
    if let Ok(Parsed::Complete { head_bytes }) = answer {
        assert!(head_bytes <= input.len() && head_bytes <= limits.head_bytes_max);
        let mut outbound = ResponseOutbound::of(&head);
        if head.upgrade().is_some() {
            outbound.connection = Connection::Upgrade;
        }
        let mut rendered = Vec::new();
        write_response(&head, &outbound, &mut rendered);
        let mut again = ResponseHead::new();
        let answer = parse_response(&rendered, method, &WIDE, Lenient::NONE, &mut again);
        let head_bytes = rendered.len();
        assert_eq!(answer, Ok::<_, ResponseError>(Parsed::Complete { head_bytes }));
        assert_eq!((again.status(), again.reason()), (head.status(), head.reason()));
        assert_eq!(again.framing(), head.framing());
        assert_eq!(again.upgrade(), head.upgrade());
        assert_eq!(live(again.fields()), live(head.fields()));
    }
}

/// Chunked bodies: cuts agree on content, trailers, end and error; encoding is undone by decoding.
///
/// The first byte of `data` chooses where to cut.
pub fn check_chunked(data: &[u8]) {
    let Some((&choice, input)) = data.split_first() else { return };
    let limits =
        BodyLimits { extension_bytes_max: 40, trailer_bytes_max: 200, trailer_fields_max: 4 };
    let whole = decode(input, input.len().max(1), &limits);
    for step in [1, 2, 3, 7, choice as usize + 1] {
        assert_eq!(decode(input, step, &limits), whole, "in steps of {step}");
    }
    if whole.outcome == Ok(true) {
        let mut encoded = Vec::new();
        for piece in whole.content.chunks(choice as usize + 1) {
            chunk::write_chunk_head(&mut encoded, piece.len());
            encoded.extend_from_slice(piece);
            chunk::write_chunk_end(&mut encoded);
        }
        let mut trailers = Fields::default();
        for (name, value) in &whole.trailers {
            // A forbidden name is dead by now, so only a reserved one could fail.
            assert_eq!(trailers.append(name, value), Ok(()));
        }
        chunk::write_last_chunk(&mut encoded, Some(&trailers));
        let again = decode(&encoded, 5, &BodyLimits::default());
        assert_eq!(again, Decoded { consumed: encoded.len(), ..whole });
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Decoded {
    content: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
    consumed: usize,
    outcome: Result<bool, BodyError>,
}

/// Decodes `input` as it would arrive in reads of `step` bytes.
fn decode(input: &[u8], step: usize, limits: &BodyLimits) -> Decoded {
    let mut decoder = BodyDecoder::for_response(Framing::Chunked, limits);
    let mut content = Vec::new();
    let mut consumed = 0;
    let mut outcome = Ok(false);
    'reads: for read in input.chunks(step) {
        let mut rest = read;
        while !rest.is_empty() {
            match decoder.decode(rest) {
                Ok(step) => {
                    content.extend_from_slice(&rest[step.data]);
                    consumed += step.consumed;
                    rest = &rest[step.consumed..];
                    outcome = Ok(step.done);
                    if step.done {
                        break 'reads;
                    }
                    assert!(step.consumed > 0, "no progress");
                }
                Err(error) => {
                    assert_eq!(decoder.decode(rest), Err(error), "an error must stay");
                    outcome = Err(error);
                    break 'reads;
                }
            }
        }
    }
    // How much was consumed before an error depends on the cuts, and nobody may care.
    let consumed = if outcome.is_ok() { consumed } else { 0 };
    let trailers = if outcome == Ok(true) { live(decoder.trailers()) } else { Vec::new() };
    Decoded { content, trailers, consumed, outcome }
}

/// `Retry-After`: any bytes are a wait or none, the same again for the date that they come to; and
/// what we write as a date is read as that. The first eight bytes are now, in seconds.
pub fn check_retry_after(data: &[u8]) {
    let Some((now, value)) = data.split_first_chunk::<8>() else { return };
    // Up to the end of the year 9999, which is the last that a date has digits for.
    let seconds = u64::from_be_bytes(*now) % 253_402_300_800;
    let unix = Duration::from_secs(seconds);
    let date = http_date(seconds);
    assert_eq!(retry_after(&date, Duration::ZERO), Some(unix));
    assert_eq!(retry_after(&date, unix + Duration::from_nanos(1)), Some(Duration::ZERO));
    let Some(wait) = retry_after(value, unix) else { return };
    if value.iter().all(u8::is_ascii_digit) {
        assert_eq!(retry_after(value, Duration::ZERO), Some(wait), "seconds have no now");
    } else if !wait.is_zero() {
        let date = http_date((unix + wait).as_secs());
        assert_eq!(retry_after(&date, unix), Some(wait), "{}", value.escape_ascii());
    }
}

/// Normalising a path twice is normalising it once, and leaves nothing to resolve or merge; so
/// does every other reading, and no doubt of what was read as structure.
pub fn check_path(path: &[u8]) {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    if let Ok(normal) = path::normalise(path, &mut first) {
        assert_eq!(path::normalise(normal, &mut second), Ok(normal));
        check_normal(normal);
    }
    for reading in path::doubts(path).parts() {
        if path::normalise_as(path, reading, &mut first).is_ok() {
            assert!(!path::doubts(&first).meets(reading), "{}", first.escape_ascii());
            check_normal(&first);
        }
    }
}

fn check_normal(normal: &[u8]) {
    let is_path = normal.first() == Some(&b'/');
    let resolved = normal.split(|&byte| byte == b'/').all(|part| part != b"." && part != b"..");
    let merged = !normal.windows(2).any(|pair| pair == b"//");
    assert!(!is_path || (resolved && merged), "{}", normal.escape_ascii());
}

fn live(fields: &Fields) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// Every cut of a short input, about a hundred of a long one.
fn cuts(bytes: usize, choice: u8) -> impl Iterator<Item = usize> {
    let step = bytes / 100 + 1;
    (choice as usize % step..=bytes).step_by(step).chain([bytes])
}

fn lenient_of(choice: u8) -> Lenient {
    let pick = |bit: u8, waiver| if choice & bit != 0 { waiver } else { Lenient::NONE };
    pick(16, Lenient::OBS_FOLD)
        | pick(32, Lenient::BARE_LF)
        | pick(64, Lenient::UNDERSCORE)
        | pick(128, Lenient::REPEATED_CONTENT_LENGTH)
}

fn limits_of(choice: u8) -> Limits {
    if choice & 8 == 0 {
        return Limits::default();
    }
    Limits { head_bytes_max: 160, line_bytes_max: 60, target_bytes_max: 30, fields_max: 5 }
}

/// Wide enough for what rendering adds to a head at its limits.
const WIDE: Limits = Limits {
    head_bytes_max: super::EDITED_BYTES_MAX * 2,
    line_bytes_max: super::EDITED_BYTES_MAX,
    target_bytes_max: super::EDITED_BYTES_MAX,
    fields_max: super::FIELDS_CEILING,
};
