//! What a route says of gRPC: services and their methods.

use std::fmt;
use std::str::FromStr;

use crate::values::text::{BadText, text_settings};

/// A gRPC service, or one of its methods, as calls name them in their path
/// (`PROTOCOL-HTTP2.md`: `/` Service-Name `/` method name).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcService {
    /// `shop.v1.Cart`, or `shop.v1.Cart/Add`.
    name: Box<str>,
}

impl GrpcService {
    /// True if calls of this path are meant.
    pub fn matches(&self, path: &str) -> bool {
        let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(&*self.name));
        rest.is_some_and(|rest| match self.name.contains('/') {
            true => rest.is_empty(),
            false => rest.starts_with('/') && rest.len() > 1,
        })
    }
}

impl fmt::Display for GrpcService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl FromStr for GrpcService {
    type Err = BadText;

    fn from_str(text: &str) -> Result<GrpcService, BadText> {
        let (service, method) = text.split_once('/').unwrap_or((text, "Any"));
        if service.split('.').all(is_identifier) && is_identifier(method) {
            return Ok(GrpcService { name: text.into() });
        }
        Err(EXPECTED)
    }
}

/// An identifier of the protocol buffer language.
fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    let begins = bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    begins && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

const EXPECTED: BadText =
    BadText("a service is named as in \"shop.v1.Cart\", a method as in \"shop.v1.Cart/Add\"");

text_settings! {
    GrpcService: "a gRPC service or method, such as \"shop.v1.Cart\" or \"shop.v1.Cart/Add\"";
}
