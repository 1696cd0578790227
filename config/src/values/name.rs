//! Names that are given in a value, where blocks have theirs in a header.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use crate::values::text::{BadText, text_settings};

/// The name of a route: as blocks are named, so that it is fit for logs and labels as it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteName(Box<str>);

impl Deref for RouteName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RouteName {
    type Err = BadText;

    fn from_str(text: &str) -> Result<RouteName, BadText> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !(1..=BYTES_MAX).contains(&text.len()) || !text.bytes().all(is_allowed) {
            return Err(BadText("a name has letters, digits, - and _, at most 64 of them"));
        }
        if text == UNMATCHED || text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadText("numbers and \"unmatched\" are for what has no name"));
        }
        Ok(RouteName(text.into()))
    }
}

text_settings! {
    RouteName: "a name: letters, digits, - and _, at most 64 of them";
}

/// What requests are counted under that no route takes.
const UNMATCHED: &str = "unmatched";
const BYTES_MAX: usize = 64;
