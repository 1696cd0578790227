//! Request heads: the reusable struct, and the parser that fills it.

use std::mem::{self, MaybeUninit};

use super::connection::read_options;
use super::error::{HeadError, RequestError};
use super::field::Span;
use super::fields::Fields;
use super::framing::{Framing, framing_of_fields};
use super::gather::{Facts, gather, keep, lines_are_strict, offset};
use super::limits::{FIELDS_CEILING, Lenient, Limits};
use super::scan::{Parsed, Scan, Slots, Verdict, canonicalise, scan, syntax};
use super::target::{self, Scheme, TargetForm};
use super::{Version, host, token};

/// The methods of RFC 9110 §9 and PATCH; any other token is `Other`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the method of that name")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// A token of no registered meaning; [`RequestHead::method_name`] has it.
    Other,
}

impl Method {
    /// The method called `name`; case matters (RFC 9110 §9.1).
    pub fn of(name: &[u8]) -> Method {
        match name {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"CONNECT" => Method::Connect,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"PATCH" => Method::Patch,
            _ => Method::Other,
        }
    }

    /// Whether repeating the request does no more than sending it once (RFC 9110 §9.2.2).
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Method::Post | Method::Patch | Method::Connect | Method::Other)
    }
}

/// The head of a request, reusable: cleared and refilled, it allocates no more once it is warm.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    pub(super) fields: Fields,
    /// The start line with its CRLF, while it can be forwarded as it stands.
    pub(super) line: Option<Span>,
    pub(super) method: Method,
    pub(super) method_name: Span,
    pub(super) version: Version,
    pub(super) form: TargetForm,
    pub(super) scheme: Option<Scheme>,
    pub(super) path_and_query: Span,
    pub(super) path_bytes: u32,
    pub(super) authority: Option<Span>,
    pub(super) host_bytes: u32,
    pub(super) port: Option<u16>,
    pub(super) framing: Framing,
    /// What the live `Content-Length` says.
    pub(super) length: Option<u64>,
    pub(super) keep_alive: bool,
    pub(super) expect_continue: bool,
    pub(super) te_trailers: bool,
    pub(super) upgrade: Option<Span>,
    pub(super) dropped_count: u32,
    pub(super) waived: Lenient,
    /// Bytes of a partial head that were already looked through; saves looking at each byte again
    /// for each byte that arrives.
    pub(super) probed: usize,
}

impl RequestHead {
    /// An empty head without buffers; they come with the first message.
    pub fn new() -> RequestHead {
        RequestHead::default()
    }

    /// Forgets the message and keeps the buffers.
    pub fn clear(&mut self) {
        let mut fields = mem::take(&mut self.fields);
        fields.clear();
        *self = RequestHead { fields, ..RequestHead::default() };
    }

    /// The header fields.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The header fields, to edit them.
    pub fn fields_mut(&mut self) -> &mut Fields {
        &mut self.fields
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The method's name as it was received.
    pub fn method_name(&self) -> &[u8] {
        self.method_name.of(&self.fields.bytes)
    }

    /// The version that the sender speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The form in which the target came.
    pub fn form(&self) -> TargetForm {
        self.form
    }

    /// The scheme of an absolute target.
    pub fn scheme(&self) -> Option<Scheme> {
        self.scheme
    }

    /// The path as received, query left out: `/...`, `*` for a server-wide OPTIONS, empty for
    /// CONNECT.
    pub fn path(&self) -> &[u8] {
        &self.path_and_query()[..self.path_bytes as usize]
    }

    /// What follows the first `?`, if there is one.
    pub fn query(&self) -> Option<&[u8]> {
        self.path_and_query().get(self.path_bytes as usize + 1..)
    }

    /// Path and query as received.
    pub fn path_and_query(&self) -> &[u8] {
        self.path_and_query.of(&self.fields.bytes)
    }

    /// Host and port that the request is for: the target's if it is absolute, else `Host`.
    ///
    /// `None` only for an HTTP/1.0 request that names none.
    pub fn authority(&self) -> Option<&[u8]> {
        self.authority.map(|span| span.of(&self.fields.bytes))
    }

    /// The host of [`RequestHead::authority`], an IPv6 address in its brackets.
    pub fn host(&self) -> Option<&[u8]> {
        self.authority().map(|authority| &authority[..self.host_bytes as usize])
    }

    /// The port of [`RequestHead::authority`], if it has one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// How the body's end is found: never `UntilClose`.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the sender lets the connection live on after the exchange.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the sender waits for a 100 before it sends the body.
    pub fn expect_continue(&self) -> bool {
        self.expect_continue
    }

    /// Whether the sender takes trailers (`TE: trailers`).
    pub fn te_trailers(&self) -> bool {
        self.te_trailers
    }

    /// The protocols of an upgrade that was asked for as RFC 9110 §7.8 wants it, `h2c` excepted.
    pub fn upgrade(&self) -> Option<&[u8]> {
        self.upgrade.map(|span| span.of(&self.fields.bytes))
    }

    /// Fields that were received and refused a place: underscore in the name, `Proxy`.
    pub fn dropped_count(&self) -> u32 {
        self.dropped_count
    }

    /// The waivers that this head needed.
    pub fn waived(&self) -> Lenient {
        self.waived
    }
}

/// Parses the head of a request from the start of `input`.
///
/// `head` must be new, cleared, or left by a call that answered `Partial` for a part of the same
/// bytes. After `Complete` it holds the message, after anything else nothing of use.
///
/// # Errors
/// The first thing that is wrong with the request. What comes after it on the connection cannot
/// be told apart from it.
pub fn parse_request(
    input: &[u8],
    limits: &Limits,
    lenient: Lenient,
    head: &mut RequestHead,
) -> Result<Parsed, RequestError> {
    let Some(skipped) = empty_lines(input)? else { return Ok(Parsed::Partial) };
    let input = &input[skipped..];
    let fields_max = limits.fields_max.min(FIELDS_CEILING);
    if head.probed == 0 && skipped == 0 {
        let mut slots: Slots<'_> = [const { MaybeUninit::uninit() }; FIELDS_CEILING];
        let mut request = httparse::Request::new(&mut []);
        let outcome = request.parse_with_uninit_headers(input, &mut slots[..fields_max]);
        if let Ok(httparse::Status::Complete(head_bytes)) = outcome {
            let source = &input[..head_bytes];
            let name_bytes = request.method.map_or(0, str::len);
            let target_bytes = request.path.map_or(0, str::len);
            if name_bytes <= super::scan::METHOD_BYTES_MAX
                && target_bytes <= limits.target_bytes_max
                && lines_are_strict(source, request.headers, limits)
            {
                let list = &mut head.fields.list;
                let facts = gather(list, source, request.headers, lenient, true);
                keep(&mut head.fields, source);
                head.waived = Lenient::NONE;
                head.place(source, &request);
                head.understand(&facts, lenient)?;
                return Ok(Parsed::Complete { head_bytes });
            }
        }
    }
    parse_slowly(input, skipped, limits, lenient, head)
}

/// The parser for everything but plain and complete heads; agrees with the fast one on those.
pub(super) fn parse_slowly(
    input: &[u8],
    skipped: usize,
    limits: &Limits,
    lenient: Lenient,
    head: &mut RequestHead,
) -> Result<Parsed, RequestError> {
    let scan = scan(input, skipped, limits, lenient, true);
    // Looking again at a partial head only once it grew by a quarter keeps the whole linear.
    if scan.verdict == Verdict::Partial && input.len() < head.probed + head.probed / 4 {
        return Ok(Parsed::Partial);
    }
    head.probed = scan.end;
    let (source, is_rewritten) = (&input[..scan.end], scan.folded || scan.bare_lf);
    if scan.verdict == Verdict::Partial && !is_rewritten {
        // There is nothing to keep yet: a head that never ends shall not be held twice.
        parse_lines(source, &scan, limits, lenient, head)?;
        return Ok(Parsed::Partial);
    }
    let mut bytes = mem::take(&mut head.fields.bytes);
    if is_rewritten {
        canonicalise(source, &mut bytes);
    } else {
        bytes.clear();
        bytes.extend_from_slice(source);
    }
    let outcome = parse_lines(&bytes, &scan, limits, lenient, head);
    if scan.verdict == Verdict::Partial {
        return outcome.map(|_| Parsed::Partial);
    }
    if outcome.is_ok() {
        bytes.truncate(bytes.len() - 2);
    }
    head.fields.bytes = bytes;
    let Some(facts) = outcome? else { return Ok(Parsed::Partial) };
    head.probed = 0;
    head.waived = scan.waived();
    head.understand(&facts, lenient)?;
    Ok(Parsed::Complete { head_bytes: skipped + scan.end })
}

fn parse_lines(
    source: &[u8],
    scan: &Scan,
    limits: &Limits,
    lenient: Lenient,
    head: &mut RequestHead,
) -> Result<Option<Facts>, RequestError> {
    let fields_max = limits.fields_max.min(FIELDS_CEILING);
    let mut slots: Slots<'_> = [const { MaybeUninit::uninit() }; FIELDS_CEILING];
    let mut request = httparse::Request::new(&mut []);
    let outcome = request.parse_with_uninit_headers(source, &mut slots[..fields_max]);
    match (outcome, scan.verdict) {
        (Err(error), _) => {
            Err(syntax(error, limits).map_or_else(|| start_line_error(source), RequestError::Head))
        }
        (Ok(httparse::Status::Complete(_)), Verdict::Complete) => {
            let facts = gather(&mut head.fields.list, source, request.headers, lenient, true);
            head.place(source, &request);
            Ok(Some(facts))
        }
        (Ok(_), Verdict::Partial) => Ok(None),
        (Ok(_), Verdict::Wrong(error)) => Err(error.into()),
        (Ok(_), Verdict::MethodTooLong) => Err(RequestError::InvalidMethod),
        (Ok(_), Verdict::TargetTooLong) => {
            Err(RequestError::TargetTooLong { max: limits.target_bytes_max })
        }
        // The walk saw the empty line; were `httparse` to miss it, the line before it is odd.
        (Ok(httparse::Status::Partial), Verdict::Complete) => {
            Err(HeadError::InvalidFieldValue.into())
        }
    }
}

impl RequestHead {
    /// Notes where the parts of the start line lie.
    fn place(&mut self, source: &[u8], request: &httparse::Request<'_, '_>) {
        let method = request.method.unwrap_or_default().as_bytes();
        let target = request.path.unwrap_or_default().as_bytes();
        let start = offset(source, method);
        self.method = Method::of(method);
        self.method_name = Span::new(start, start + method.len());
        let start = offset(source, target);
        self.path_and_query = Span::new(start, start + target.len());
        self.version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
    }

    /// Everything that needs the whole head: target, host, framing, connection.
    fn understand(&mut self, facts: &Facts, lenient: Lenient) -> Result<(), RequestError> {
        if facts.underscores > 0 {
            self.waived.insert(Lenient::UNDERSCORE);
        }
        self.dropped_count = u32::from(facts.dropped);
        self.understand_target(facts)?;
        self.framing =
            framing_of_fields(&mut self.fields, facts, self.version, lenient, &mut self.waived)?
                .unwrap_or(Framing::None);
        self.length = match self.framing {
            Framing::Length(length) => Some(length),
            _ => None,
        };
        self.understand_connection(facts)
    }

    fn understand_target(&mut self, facts: &Facts) -> Result<(), RequestError> {
        let start = self.path_and_query.start as usize;
        let target = target::parse(self.path_and_query(), self.method)?;
        self.form = target.form;
        self.scheme = target.scheme;
        // The start line ends where the method, two blanks, the target and the version do.
        let line_end = self.path_and_query.end + VERSION_AND_END_BYTES;
        let authority =
            target.authority.map(|range| Span::new(start + range.start, start + range.end));
        let path =
            Span::new(start + target.path_and_query.start, start + target.path_and_query.end);
        self.path_and_query = path;
        self.keep_line(line_end);
        if self.form == TargetForm::Absolute && path.of(&self.fields.bytes).first() != Some(&b'/') {
            // RFC 9110 §4.2.3: an empty path is `/`; for OPTIONS it is the server (RFC 9112
            // §3.2.4), if no query says otherwise.
            let server_wide = self.method == Method::Options && path.is_empty();
            let start = self.fields.bytes.len();
            self.fields.bytes.push(if server_wide { b'*' } else { b'/' });
            self.fields.bytes.extend_from_within(path.range());
            self.path_and_query = Span::new(start, self.fields.bytes.len());
        }
        self.path_bytes = target::path_bytes(self.path_and_query()) as u32;
        self.understand_host(facts, authority)
    }

    /// RFC 9112 §3.2: exactly one valid `Host` in HTTP/1.1, and not two in HTTP/1.0 either.
    fn understand_host(
        &mut self,
        facts: &Facts,
        of_target: Option<Span>,
    ) -> Result<(), RequestError> {
        let bytes = &self.fields.bytes;
        let of_field = match (facts.host.count, facts.host.only()) {
            (_, Some(index)) => Some(self.fields.list[index].value),
            (0, None) if self.version == Version::Http10 => None,
            (0, None) => return Err(RequestError::MissingHost),
            _ => return Err(RequestError::RepeatedHost),
        };
        // RFC 9112 §3.2.2 lets a proxy overrule `Host` by the target; two readings are one too
        // many, so they must agree.
        if let (Some(target), Some(field)) = (of_target, of_field) {
            let default = self.scheme.map_or(0, Scheme::default_port);
            let (target, field) = (target.of(bytes), field.of(bytes));
            if host::split(field).is_none() {
                return Err(RequestError::InvalidHost);
            }
            if !host::same(target, field, default) {
                return Err(RequestError::HostMismatch);
            }
        }
        self.authority = of_target.or(of_field);
        self.host_bytes = 0;
        self.port = None;
        if let Some(span) = self.authority {
            let authority = host::split(span.of(bytes)).ok_or(RequestError::InvalidHost)?;
            self.host_bytes = authority.host.len() as u32;
            self.port = authority.port;
        }
        Ok(())
    }

    fn understand_connection(&mut self, facts: &Facts) -> Result<(), RequestError> {
        self.keep_alive = self.version == Version::Http11;
        self.upgrade = None;
        self.expect_continue = false;
        self.te_trailers = false;
        if facts.connection.count > 0 {
            let options = read_options(&mut self.fields)?;
            // RFC 9112 §9.3: close wins; HTTP/1.0 must ask to stay.
            self.keep_alive =
                !options.close && (options.keep_alive || self.version == Version::Http11);
            // RFC 9110 §7.8: only with the option, never in HTTP/1.0; RFC 9113 §3.1: h2c is gone.
            if options.upgrade && self.version == Version::Http11 {
                let span = facts.upgrade.only().map(|index| self.fields.list[index].value);
                self.upgrade = span.filter(|span| is_upgrade(span.of(&self.fields.bytes)));
            }
        }
        if let Some(index) = facts.te.only() {
            let value = self.fields.list[index].value.of(&self.fields.bytes);
            self.te_trailers = token::list(value).any(|te| te.eq_ignore_ascii_case(b"trailers"));
        }
        // RFC 9110 §10.1.1: an HTTP/1.0 sender cannot mean it.
        if let (Some(index), Version::Http11) = (facts.expect.only(), self.version) {
            let value = self.fields.list[index].value.of(&self.fields.bytes);
            self.expect_continue = value.eq_ignore_ascii_case(b"100-continue");
        }
        Ok(())
    }
}

fn is_upgrade(value: &[u8]) -> bool {
    let mut protocols = token::list(value).peekable();
    protocols.peek().is_some() && protocols.all(|protocol| !protocol.eq_ignore_ascii_case(b"h2c"))
}

/// Bytes of the empty lines in front of a request, `None` while that is not yet known.
///
/// RFC 9112 §2.2: at least one CRLF is to be ignored, from senders that add one after a body.
fn empty_lines(input: &[u8]) -> Result<Option<usize>, RequestError> {
    let mut skipped = 0;
    loop {
        match &input[skipped..] {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] if skipped / 2 < EMPTY_LINES_MAX => skipped += 2,
            [b'\r', b'\n', ..] => {
                return Err(RequestError::TooManyEmptyLines { max: EMPTY_LINES_MAX });
            }
            [b'\r', ..] => return Err(HeadError::InvalidLineEnd.into()),
            [b'\n', ..] => return Err(HeadError::BareLf.into()),
            _ => return Ok(Some(skipped)),
        }
    }
}

/// Which half of the request line `httparse` did not like.
fn start_line_error(source: &[u8]) -> RequestError {
    let name_bytes = source.iter().position(|&byte| !token::is_token(&[byte]));
    match name_bytes {
        Some(end) if end > 0 && source[end] == b' ' => RequestError::InvalidTarget,
        _ => RequestError::InvalidMethod,
    }
}

const EMPTY_LINES_MAX: usize = 2;

/// ` HTTP/1.1` and CRLF, behind the target.
const VERSION_AND_END_BYTES: u32 = 11;
