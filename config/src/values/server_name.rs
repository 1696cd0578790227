//! The name that an endpoint is asked for: a host name or an IP address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::values::text::{BadText, text_settings};

/// What a certificate can be for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerName(Box<str>);

impl ServerName {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an IP address.
    pub fn is_address(&self) -> bool {
        self.0.parse::<IpAddr>().is_ok()
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ServerName {
    type Err = BadText;

    fn from_str(text: &str) -> Result<ServerName, BadText> {
        // RFC 1123 §2.1: labels of letters, digits and hyphens, with none at their ends.
        let label = |label: &str| {
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            (1..=63).contains(&label.len())
                && label.bytes().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let all_numbers = text
            .split('.')
            .next_back()
            .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        let is_host = text.len() <= 253 && text.split('.').all(label) && !all_numbers;
        if is_host || text.parse::<IpAddr>().is_ok() {
            return Ok(ServerName(text.into()));
        }
        Err(BadText("neither a host name nor an IP address"))
    }
}

text_settings! {
    ServerName: "a host name or an IP address";
}
