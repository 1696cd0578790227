//! Response heads: the reusable struct, the parser that fills it, and its edits.

use std::mem::{self, MaybeUninit};

use super::connection::read_options;
use super::error::{EditError, HeadError, ResponseError};
use super::field::{HOP, Span};
use super::fields::Fields;
use super::framing::{Framing, framing_of_fields};
use super::gather::{Facts, gather, keep, lines_are_strict};
use super::known::Known;
use super::limits::{FIELDS_CEILING, Lenient, Limits};
use super::request::Method;
use super::scan::{Parsed, Scan, Slots, Verdict, canonicalise, scan, syntax};
use super::{Version, status, token};

/// The head of a response, reusable: cleared and refilled, it allocates no more once it is warm.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    pub(super) fields: Fields,
    /// The status line with its CRLF, while it can be forwarded as it stands.
    pub(super) line: Option<Span>,
    pub(super) version: Version,
    pub(super) status: u16,
    pub(super) reason: Span,
    pub(super) framing: Framing,
    /// What the live `Content-Length` says.
    pub(super) length: Option<u64>,
    pub(super) keep_alive: bool,
    pub(super) upgrade: Option<Span>,
    pub(super) waived: Lenient,
    /// As in a request head.
    pub(super) probed: usize,
}

impl ResponseHead {
    /// An empty head without buffers; they come with the first message.
    pub fn new() -> ResponseHead {
        ResponseHead::default()
    }

    /// Forgets the message and keeps the buffers.
    pub fn clear(&mut self) {
        let mut fields = mem::take(&mut self.fields);
        fields.clear();
        *self = ResponseHead { fields, ..ResponseHead::default() };
    }

    /// Makes the head of a response of our own, with the usual phrase and an empty body.
    ///
    /// # Errors
    /// When `status` has not three digits, or is 1xx, which is not an answer.
    pub fn start(&mut self, status: u16) -> Result<(), EditError> {
        self.clear();
        self.keep_alive = true;
        self.set_status(status)?;
        self.framing = if is_bodyless(status) { Framing::None } else { Framing::Length(0) };
        Ok(())
    }

    /// The header fields.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The header fields, to edit them.
    pub fn fields_mut(&mut self) -> &mut Fields {
        &mut self.fields
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase as received; often empty.
    pub fn reason(&self) -> &[u8] {
        self.reason.of(&self.fields.bytes)
    }

    /// The version that the origin speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How the body's end is found.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// How the body reaches a downstream of `version`: without a length, in chunks to HTTP/1.1
    /// and until the close to HTTP/1.0 (RFC 9112 §7).
    pub fn framing_to(&self, version: Version) -> Framing {
        match (self.framing, version) {
            (Framing::Chunked, Version::Http10) => Framing::UntilClose,
            (Framing::UntilClose, Version::Http11) => Framing::Chunked,
            (framing, _) => framing,
        }
    }

    /// Whether the origin lets the connection live on after the exchange.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether this is an interim response and the answer is still to come.
    ///
    /// 101 is not interim: it ends HTTP on the connection.
    pub fn is_informational(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// The protocol that a 101 switches to.
    pub fn upgrade(&self) -> Option<&[u8]> {
        self.upgrade.map(|span| span.of(&self.fields.bytes))
    }

    /// The waivers that this head needed.
    pub fn waived(&self) -> Lenient {
        self.waived
    }

    /// Replaces the status, and the phrase by the usual one.
    ///
    /// # Errors
    /// When `status` has not three digits, one of the two is 1xx, or a body would have to follow
    /// where 204 or 304 said that none does. The other way round there is none any more.
    pub fn set_status(&mut self, status: u16) -> Result<(), EditError> {
        let is_new = self.status == 0;
        let wants_body = is_bodyless(self.status) && !is_bodyless(status);
        if !(200..1000).contains(&status)
            || (100..200).contains(&self.status)
            || (wants_body && !is_new)
        {
            return Err(EditError::Invalid { what: "status" });
        }
        if is_bodyless(status) && !is_bodyless(self.status) && !is_new {
            self.forget_length();
            self.framing = Framing::None;
        }
        self.reason = self.fields.store(status::reason(status).as_bytes())?;
        self.status = status;
        self.line = None;
        Ok(())
    }

    /// The length that it says of the body, sent or not.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Says no more how long the body is.
    pub fn forget_length(&mut self) {
        self.fields.remove_length();
        self.length = None;
        if matches!(self.framing, Framing::Length(1..)) {
            self.framing = Framing::Chunked;
        }
    }

    /// Says how the body is framed from here on; the fields follow when it is written.
    pub fn set_framing(&mut self, framing: Framing) {
        self.framing = framing;
    }
}

/// Parses the head of a response to a request of `method` from the start of `input`.
///
/// `head` must be new, cleared, or left by a call that answered `Partial` for a part of the same
/// bytes. After `Complete` it holds the message, after anything else nothing of use.
///
/// # Errors
/// The first thing that is wrong with the response.
pub fn parse_response(
    input: &[u8],
    method: Method,
    limits: &Limits,
    lenient: Lenient,
    head: &mut ResponseHead,
) -> Result<Parsed, ResponseError> {
    match input.first() {
        None => return Ok(Parsed::Partial),
        // `httparse` would skip empty lines, which RFC 9112 §2.2 forgives requests alone.
        Some(b'H') => {}
        Some(_) => return Err(HeadError::InvalidVersion.into()),
    }
    let fields_max = limits.fields_max.min(FIELDS_CEILING);
    if head.probed == 0 {
        let mut slots: Slots<'_> = [const { MaybeUninit::uninit() }; FIELDS_CEILING];
        let mut response = httparse::Response::new(&mut []);
        let outcome = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            input,
            &mut slots[..fields_max],
        );
        if let Ok(httparse::Status::Complete(head_bytes)) = outcome {
            let source = &input[..head_bytes];
            if lines_are_strict(source, response.headers, limits) {
                let list = &mut head.fields.list;
                let facts = gather(list, source, response.headers, lenient, false);
                keep(&mut head.fields, source);
                head.waived = Lenient::NONE;
                head.place(source, &response);
                head.understand(&facts, method, lenient)?;
                return Ok(Parsed::Complete { head_bytes });
            }
        }
    }
    parse_slowly(input, method, limits, lenient, head)
}

/// The parser for everything but plain and complete heads; agrees with the fast one on those.
pub(super) fn parse_slowly(
    input: &[u8],
    method: Method,
    limits: &Limits,
    lenient: Lenient,
    head: &mut ResponseHead,
) -> Result<Parsed, ResponseError> {
    let scan = scan(input, 0, limits, lenient, false);
    if scan.verdict == Verdict::Partial && input.len() < head.probed + head.probed / 4 {
        return Ok(Parsed::Partial);
    }
    head.probed = scan.end;
    let mut bytes = mem::take(&mut head.fields.bytes);
    if scan.folded || scan.bare_lf {
        canonicalise(&input[..scan.end], &mut bytes);
    } else {
        bytes.clear();
        bytes.extend_from_slice(&input[..scan.end]);
    }
    let outcome = parse_lines(&bytes, &scan, limits, lenient, head);
    if outcome.is_ok() && scan.verdict == Verdict::Complete {
        bytes.truncate(bytes.len() - 2);
    }
    head.fields.bytes = bytes;
    let Some(facts) = outcome? else { return Ok(Parsed::Partial) };
    head.probed = 0;
    head.waived = scan.waived();
    head.understand(&facts, method, lenient)?;
    Ok(Parsed::Complete { head_bytes: scan.end })
}

fn parse_lines(
    source: &[u8],
    scan: &Scan,
    limits: &Limits,
    lenient: Lenient,
    head: &mut ResponseHead,
) -> Result<Option<Facts>, ResponseError> {
    let fields_max = limits.fields_max.min(FIELDS_CEILING);
    let mut slots: Slots<'_> = [const { MaybeUninit::uninit() }; FIELDS_CEILING];
    let mut response = httparse::Response::new(&mut []);
    let outcome = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        source,
        &mut slots[..fields_max],
    );
    match (outcome, scan.verdict) {
        (Err(error), _) => {
            Err(syntax(error, limits).map_or(ResponseError::InvalidStatus, ResponseError::Head))
        }
        (Ok(httparse::Status::Complete(_)), Verdict::Complete) => {
            let facts = gather(&mut head.fields.list, source, response.headers, lenient, false);
            head.place(source, &response);
            Ok(Some(facts))
        }
        (Ok(_), Verdict::Partial) => Ok(None),
        (Ok(_), Verdict::Wrong(error)) => Err(error.into()),
        // The walk saw the empty line; were `httparse` to miss it, the line before it is odd.
        (Ok(_), Verdict::Complete | Verdict::MethodTooLong | Verdict::TargetTooLong) => {
            Err(HeadError::InvalidFieldValue.into())
        }
    }
}

impl ResponseHead {
    /// Notes where the parts of the status line lie.
    fn place(&mut self, source: &[u8], response: &httparse::Response<'_, '_>) {
        self.status = response.code.unwrap_or(0);
        self.version = if response.version == Some(0) { Version::Http10 } else { Version::Http11 };
        let end = memchr::memchr(b'\n', source).map_or(0, |at| at + 1);
        let reason_end = end.saturating_sub(2);
        let reason_start = reason_end.min(REASON_INDEX);
        self.reason = Span::new(reason_start, reason_end);
        // The blank in front of an absent phrase is not optional (RFC 9112 §4): written anew.
        let verbatim = self.version == Version::Http11 && reason_end >= REASON_INDEX;
        self.line = verbatim.then_some(Span::new(0, end));
    }

    /// Everything that needs the whole head: status, framing, connection.
    fn understand(
        &mut self,
        facts: &Facts,
        method: Method,
        lenient: Lenient,
    ) -> Result<(), ResponseError> {
        // RFC 9110 §15: three digits, the first of them a class; what is above 599 is let
        // through as the 5xx that it is treated as.
        if self.status < 100 {
            return Err(ResponseError::InvalidStatus);
        }
        let of_fields =
            framing_of_fields(&mut self.fields, facts, self.version, lenient, &mut self.waived)?;
        self.length = match of_fields {
            Some(Framing::Length(length)) => Some(length),
            _ => None,
        };
        self.frame(of_fields, method);
        self.keep_alive = self.version == Version::Http11;
        self.upgrade = None;
        if facts.connection.count > 0 {
            let options = read_options(&mut self.fields)?;
            self.keep_alive =
                !options.close && (options.keep_alive || self.version == Version::Http11);
            if options.upgrade && self.status == 101 && self.version == Version::Http11 {
                let span = facts.upgrade.only().map(|index| self.fields.list[index].value);
                self.upgrade =
                    span.filter(|span| token::list(span.of(&self.fields.bytes)).next().is_some());
            }
        }
        if self.framing == Framing::UntilClose {
            self.keep_alive = false;
        }
        Ok(())
    }

    /// RFC 9112 §6.3 (1), (2), (8): what the request and the status say overrules the fields.
    fn frame(&mut self, of_fields: Option<Framing>, method: Method) {
        let tunnels = method == Method::Connect && (200..300).contains(&self.status);
        let lengthless = tunnels || self.status < 200 || self.status == 204;
        if lengthless {
            // RFC 9110 §8.6: these must not carry a length, and ours do not.
            for field in &mut self.fields.list {
                if field.known == Known::ContentLength {
                    field.flags |= HOP;
                }
            }
            self.length = None;
        }
        self.framing = match of_fields {
            _ if lengthless || method == Method::Head || self.status == 304 => Framing::None,
            Some(framing) => framing,
            None => Framing::UntilClose,
        };
    }
}

fn is_bodyless(status: u16) -> bool {
    matches!(status, 204 | 304)
}

/// Where the phrase begins: behind `HTTP/1.1 200 `.
const REASON_INDEX: usize = 13;
