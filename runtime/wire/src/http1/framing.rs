//! How long a body is: RFC 9112 §6.3, clause by clause, with every doubt an error.

use super::error::HeadError;
use super::fields::Fields;
use super::gather::Facts;
use super::known::Known;
use super::limits::Lenient;
use super::{Version, token};

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
    /// Until the sender closes; responses only.
    UntilClose,
}

impl Framing {
    /// Whether no byte of body follows the head.
    pub fn is_empty(self) -> bool {
        matches!(self, Framing::None | Framing::Length(0))
    }
}

/// What the fields say about the body, before the method or the status has its say.
///
/// # Errors
/// Everything that two readers could take in two ways.
pub(super) fn framing_of_fields(
    fields: &mut Fields,
    facts: &Facts,
    version: Version,
    lenient: Lenient,
    used: &mut Lenient,
) -> Result<Option<Framing>, HeadError> {
    if facts.coding.count > 0 {
        // RFC 9112 §6.1: a transfer coding in an HTTP/1.0 message means faulty framing.
        if version == Version::Http10 {
            return Err(HeadError::TransferEncodingOnHttp10);
        }
        // RFC 9112 §6.3 (3): both present means a smuggling attempt.
        if facts.length.count > 0 {
            return Err(HeadError::LengthAndTransferEncoding);
        }
        // RFC 9112 §6.3 (4): chunked must be final; §6.1: applied once. We know no other coding.
        let only = facts.coding.only().map(|index| fields.list[index].value.of(&fields.bytes));
        if !only.is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")) {
            return Err(HeadError::InvalidTransferEncoding);
        }
        return Ok(Some(Framing::Chunked));
    }
    if facts.length.count == 0 {
        return Ok(None);
    }
    let (length, repeated) = read_length(fields)?;
    if repeated {
        if !lenient.contains(Lenient::REPEATED_CONTENT_LENGTH) {
            return Err(HeadError::RepeatedContentLength);
        }
        used.insert(Lenient::REPEATED_CONTENT_LENGTH);
        let mut digits = [0; 20];
        let digits = decimal(length, &mut digits);
        if fields.put(Known::ContentLength, b"Content-Length", digits).is_err() {
            return Err(HeadError::RepeatedContentLength);
        }
    }
    Ok(Some(Framing::Length(length)))
}

/// The length that all `Content-Length` fields agree on, and whether it is said more than once.
///
/// RFC 9112 §6.3 (5): a list of lengths that are not all the same is an error without recourse.
fn read_length(fields: &Fields) -> Result<(u64, bool), HeadError> {
    let mut length = None;
    let mut repeated = false;
    for field in fields.list.iter().filter(|field| field.known == Known::ContentLength) {
        for member in field.value.of(&fields.bytes).split(|&byte| byte == b',') {
            let member = parse_length(token::trim(member))?;
            match length {
                None => length = Some(member),
                Some(before) if before == member => repeated = true,
                Some(_) => return Err(HeadError::ConflictingContentLength),
            }
        }
    }
    length.map(|length| (length, repeated)).ok_or(HeadError::InvalidContentLength)
}

/// RFC 9110 §8.6: `1*DIGIT`, no sign, no blank. Leading zeros are refused beyond that: a reader
/// of octal would see another number.
fn parse_length(digits: &[u8]) -> Result<u64, HeadError> {
    if digits.is_empty() || (digits[0] == b'0' && digits.len() > 1) {
        return Err(HeadError::InvalidContentLength);
    }
    let mut length = 0_u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return Err(HeadError::InvalidContentLength);
        }
        length = length
            .checked_mul(10)
            .and_then(|length| length.checked_add(u64::from(digit - b'0')))
            .ok_or(HeadError::InvalidContentLength)?;
    }
    Ok(length)
}

/// `number` in decimal, written into the end of `buffer`.
pub(super) fn decimal(mut number: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut start = buffer.len();
    loop {
        start -= 1;
        buffer[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &buffer[start..];
        }
    }
}
