//! The address of a service of somebody else's: `https://host[:port]/path`.

use std::fmt;
use std::str::FromStr;

use crate::values::text::{BadText, text_settings};

/// An `https` URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpsUrl(Box<str>);

impl HttpsUrl {
    /// The directory of Let's Encrypt.
    pub fn lets_encrypt() -> HttpsUrl {
        HttpsUrl("https://acme-v02.api.letsencrypt.org/directory".into())
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        let rest = self.0.strip_prefix(SCHEME).unwrap_or(&self.0);
        rest.split('/').next().unwrap_or(rest)
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HttpsUrl {
    type Err = BadText;

    fn from_str(text: &str) -> Result<HttpsUrl, BadText> {
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return Err(BadText("a URL here begins with \"https://\""));
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        // It names a folder, too: nothing in it may lead elsewhere.
        let begins = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'[';
        if !authority.as_bytes().first().is_some_and(begins) || !authority.bytes().all(plain) {
            return Err(BadText("a URL has a host behind \"https://\", and no user"));
        }
        // RFC 3986 §2: what is left is encoded.
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains(['"', '<', '>', '#'])
        {
            return Err(BadText("a URL is ASCII without spaces; percent-encode the rest"));
        }
        Ok(HttpsUrl(text.into()))
    }
}

const SCHEME: &str = "https://";

text_settings! {
    HttpsUrl: "a URL: \"https://host/path\"";
}
