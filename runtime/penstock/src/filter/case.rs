//! One exchange to run a filter through: what comes, and what is expected to leave.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::ValueEnum;
use penstock_filter_host::CalloutFailure;
use serde::Deserialize;

/// A request, the origin's response to it, and what the filter is expected to make of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Case {
    /// What it shows, for the report.
    pub(crate) name: String,
    pub(crate) request: RequestLine,
    pub(crate) headers: Vec<Field>,
    /// None at all if not given: the request ends with its head then, or with its trailers.
    pub(crate) body: Option<Pieces>,
    pub(crate) trailers: Vec<Field>,
    /// What the filter can ask about the connection and the route; paths with dots.
    pub(crate) properties: BTreeMap<String, Property>,
    /// Time that passes before the request comes: timers that are due run.
    pub(crate) advance_ms: u64,
    /// Replies to the filter's callouts, in their order; a callout beyond them stays open.
    pub(crate) replies: Vec<Reply>,
    /// Replies to calls that it made outside requests: before this one, and after it from queues.
    pub(crate) plugin_replies: Vec<Reply>,
    /// What the origin says to a request that reaches it.
    pub(crate) response: Response,
    pub(crate) expect: Expect,
}

/// A response.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<Field>,
    pub(crate) body: Option<Pieces>,
    pub(crate) trailers: Vec<Field>,
}

impl Default for Response {
    fn default() -> Response {
        Response { status: 200, headers: Vec::new(), body: None, trailers: Vec::new() }
    }
}

/// What comes of a callout.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Reply {
    Failed(Failed),
    Message(Message),
}

/// No reply.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failed {
    pub(crate) fail: Fail,
}

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fail {
    Unreachable,
    Timeout,
    TooLarge,
}

impl From<Fail> for CalloutFailure {
    fn from(fail: Fail) -> CalloutFailure {
        match fail {
            Fail::Unreachable => CalloutFailure::Unreachable,
            Fail::Timeout => CalloutFailure::Timeout,
            Fail::TooLarge => CalloutFailure::TooLarge,
        }
    }
}

/// A reply.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Message {
    pub(crate) status: u16,
    pub(crate) headers: Vec<Field>,
    pub(crate) body: Option<Body>,
}

impl Default for Message {
    fn default() -> Message {
        Message { status: 200, headers: Vec::new(), body: None }
    }
}

/// A body in the pieces that it comes in, as text or a list of texts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Written")]
pub(crate) struct Pieces(pub(crate) Vec<Vec<u8>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Whole(String),
    Parts(Vec<String>),
}

impl From<Written> for Pieces {
    fn from(written: Written) -> Pieces {
        let parts = match written {
            Written::Whole(text) => vec![text],
            Written::Parts(parts) => parts,
        };
        Pieces(parts.into_iter().map(String::into_bytes).collect())
    }
}

/// A body, written as text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(crate) struct Body(pub(crate) Vec<u8>);

impl From<String> for Body {
    fn from(text: String) -> Body {
        Body(text.into_bytes())
    }
}

/// What is expected of an exchange; what is not named may be as it will.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expect {
    pub(crate) action: Option<Action>,
    /// Of the response that the caller gets, whoever made it.
    pub(crate) status: Option<u16>,
    /// Fields of that response; each value is among those that the name has.
    pub(crate) headers: Vec<Field>,
    /// Names that the response does not have.
    pub(crate) no_headers: Vec<String>,
    pub(crate) body: Option<Body>,
    /// Fields of the request as it goes upstream.
    pub(crate) request_headers: Vec<Field>,
    pub(crate) no_request_headers: Vec<String>,
    pub(crate) request_body: Option<Body>,
    /// The reason that an answer of the filter's own gives to the access log.
    pub(crate) cause: Option<String>,
    /// A part of a line that the filter logs.
    pub(crate) log: Vec<String>,
    /// Fuel that the exchange may use: about one for each instruction.
    pub(crate) fuel_max: Option<u64>,
}

/// What the filter did with an exchange in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// It let request and response go on.
    Continue,
    /// It holds one of them, and nothing that would end that is under way.
    Wait,
    /// It answered by itself, or its failure was answered for it.
    Answer,
    /// It had the exchange cut.
    Close,
}

impl Action {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Action::Continue => "continue",
            Action::Wait => "wait",
            Action::Answer => "answer",
            Action::Close => "close",
        }
    }
}

/// `GET /path`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct RequestLine {
    pub(crate) method: String,
    pub(crate) path: String,
}

impl Default for RequestLine {
    fn default() -> RequestLine {
        RequestLine { method: "GET".to_owned(), path: "/".to_owned() }
    }
}

impl FromStr for RequestLine {
    type Err = String;

    fn from_str(text: &str) -> Result<RequestLine, String> {
        match text.split_once(' ') {
            Some((method, path)) if is_token(method) && path.starts_with(['/', '*']) => {
                Ok(RequestLine { method: method.to_owned(), path: path.to_owned() })
            }
            _ => Err(format!("`{text}`: a request is a method and a path, as in `GET /a?b`")),
        }
    }
}

impl TryFrom<String> for RequestLine {
    type Error = String;

    fn try_from(text: String) -> Result<RequestLine, String> {
        text.parse()
    }
}

/// `name: value`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Field {
    /// In small letters, as a filter sees it.
    pub(crate) name: String,
    pub(crate) value: String,
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Field, String> {
        let wrong = || format!("`{text}`: a field is a name and a value, as in `accept: */*`");
        // A pseudo-field's name begins with a colon of its own.
        let (colon, bare) = text.strip_prefix(':').map_or(("", text), |bare| (":", bare));
        let (name, value) = bare.split_once(':').ok_or_else(wrong)?;
        // RFC 9110 §5.5: no line breaks and no NUL in a value.
        if !is_token(name) || value.contains(['\r', '\n', '\0']) {
            return Err(wrong());
        }
        let name = format!("{colon}{}", name.to_ascii_lowercase());
        Ok(Field { name, value: value.trim_matches([' ', '\t']).to_owned() })
    }
}

impl TryFrom<String> for Field {
    type Error = String;

    fn try_from(text: String) -> Result<Field, String> {
        text.parse()
    }
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Property {
    Truth(bool),
    Number(i64),
    Text(String),
}

impl Property {
    /// As Envoy writes it: integers as 8 bytes little-endian, booleans as one byte.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Property::Truth(truth) => vec![u8::from(*truth)],
            Property::Number(number) => number.to_le_bytes().to_vec(),
            Property::Text(text) => text.clone().into_bytes(),
        }
    }
}

impl Case {
    /// The request's head as a filter sees it. What is needed and not given is added: `:scheme`,
    /// and an `:authority` that is the `host` if there is one.
    pub(crate) fn request_fields(&self) -> Vec<(&str, &str)> {
        request_fields(&self.request, &self.headers)
    }
}

/// As [`Case::request_fields`].
pub(crate) fn request_fields<'c>(
    request: &'c RequestLine,
    fields: &'c [Field],
) -> Vec<(&'c str, &'c str)> {
    let value = |name: &str| fields.iter().find(|one| one.name == name).map(|one| &*one.value);
    let authority = value(":authority").or(value("host")).unwrap_or("localhost");
    let head = [
        (":method", &*request.method),
        (":path", &*request.path),
        (":scheme", value(":scheme").unwrap_or("http")),
        (":authority", authority),
    ];
    let rest = fields.iter().filter(|one| !one.name.starts_with(':') && one.name != "host");
    head.into_iter().chain(rest.map(|one| (&*one.name, &*one.value))).collect()
}
