//! Parts of HTTP messages that a config can name: header fields, methods, statuses.
//!
//! What is refused here can never be sent, whatever a route or a filter's config says.

use std::fmt;
use std::str::FromStr;

use crate::values::foreign::has_variable;
use crate::values::text::{BadText, text_settings};

/// A field name, kept as it was written; compare with `matches`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeaderName(Box<str>);

impl HeaderName {
    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if `name` is this field, in whatever case (RFC 9110 §5.1).
    pub fn matches(&self, name: &[u8]) -> bool {
        self.0.as_bytes().eq_ignore_ascii_case(name)
    }

    /// True for fields that frame a message or concern one connection only; those are ours to
    /// write (RFC 9110 §7.6.1, RFC 9112 §6).
    pub(crate) fn is_framing(&self) -> bool {
        FRAMING.iter().any(|name| self.0.eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HeaderName {
    type Err = BadText;

    fn from_str(text: &str) -> Result<HeaderName, BadText> {
        // RFC 9110 §5.1: field-name = token.
        if is_token(text) && text.len() <= NAME_BYTES_MAX {
            return Ok(HeaderName(text.into()));
        }
        Err(BadText("a field name is letters, digits and - _ . ~ and the like, no space or colon"))
    }
}

/// A field value that can be sent as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderValue(Box<str>);

impl HeaderValue {
    /// The value as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HeaderValue {
    type Err = BadText;

    fn from_str(text: &str) -> Result<HeaderValue, BadText> {
        // RFC 9110 §5.5: visible characters, spaces and tabs inside; no CR, LF or NUL.
        let is_allowed = |byte: u8| byte == b'\t' || byte >= b' ' && byte != 0x7f;
        if !text.bytes().all(is_allowed) {
            return Err(BadText("a field value has no line breaks or control characters"));
        }
        if text.trim_matches([' ', '\t']).len() != text.len() {
            return Err(BadText("a field value neither starts nor ends with a space"));
        }
        if text.len() > VALUE_BYTES_MAX {
            return Err(BadText("a field value has at most 8192 bytes"));
        }
        if has_variable(text) {
            return Err(BadText(
                "a variable of another proxy would go out as it stands: values have none here, \
                 and a filter can make some",
            ));
        }
        Ok(HeaderValue(text.into()))
    }
}

/// A request method, upper case as on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Method(Box<str>);

impl Method {
    /// The method as it is on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Method {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Method, BadText> {
        // RFC 9110 §9.1: methods are tokens and case-sensitive; registered ones are upper case.
        if !is_token(text) || text.len() > METHOD_BYTES_MAX {
            return Err(BadText("a method is a word such as \"GET\""));
        }
        match text {
            "CONNECT" | "TRACE" => Err(BadText("CONNECT and TRACE are never forwarded")),
            _ if text.bytes().any(|byte| byte.is_ascii_lowercase()) => {
                Err(BadText("methods are upper case"))
            }
            _ => Ok(Method(text.into())),
        }
    }
}

/// A protocol that a connection may be handed over to, as named in `Upgrade`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpgradeToken(Box<str>);

impl UpgradeToken {
    /// RFC 6455.
    pub fn websocket() -> UpgradeToken {
        UpgradeToken("websocket".into())
    }

    /// The token in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if `token` is this one, in whatever case (RFC 9110 §7.8).
    pub fn matches(&self, token: &[u8]) -> bool {
        self.0.as_bytes().eq_ignore_ascii_case(token)
    }
}

impl fmt::Display for UpgradeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for UpgradeToken {
    type Err = BadText;

    fn from_str(text: &str) -> Result<UpgradeToken, BadText> {
        let lower = text.to_ascii_lowercase();
        match lower.as_str() {
            // An h2c tunnel would carry requests past every route and filter.
            "h2c" | "h2" => Err(BadText("an upgrade to HTTP/2 would go past routes and filters")),
            "tls" => Err(BadText("an upgrade to TLS would go past routes and filters")),
            _ if is_token(&lower.replacen('/', "-", 1)) && lower.len() <= NAME_BYTES_MAX => {
                Ok(UpgradeToken(lower.into()))
            }
            _ => Err(BadText("an upgrade is a protocol's name such as \"websocket\"")),
        }
    }
}

/// RFC 9110 §5.6.2: token = 1*tchar.
fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}

text_settings! {
    HeaderName: "the name of a header field";
    HeaderValue: "the value of a header field";
    Method: "a request method, upper case";
    UpgradeToken: "a protocol that connections may be handed over to, such as \"websocket\"";
}

const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

const NAME_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 8 << 10;
const METHOD_BYTES_MAX: usize = 32;
