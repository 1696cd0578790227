//! Names of network interfaces and appliances, and ranges of ports.

use std::fmt;
use std::str::FromStr;

use crate::values::text::{BadText, text_settings};

/// The name of a network interface: `"eth0"`, `"bond0.100"`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(Box<str>);

impl InterfaceName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for InterfaceName {
    type Err = BadText;

    fn from_str(text: &str) -> Result<InterfaceName, BadText> {
        // `dev_valid_name` in the kernel: 15 bytes, no slash, no colon, no blank, not a dot or two.
        let is_allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
        let fits = (1..=15).contains(&text.len()) && text.bytes().all(is_allowed);
        match fits && text != "." && text != ".." {
            true => Ok(InterfaceName(text.into())),
            false => Err(BadText("the name of a network interface, such as \"eth0\"")),
        }
    }
}

/// What tells apart the appliances of one machine: letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceName(Box<str>);

impl InstanceName {
    /// The name of the only one.
    pub fn main() -> InstanceName {
        InstanceName("main".into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for InstanceName {
    type Err = BadText;

    fn from_str(text: &str) -> Result<InstanceName, BadText> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        match (1..=64).contains(&text.len()) && text.bytes().all(is_allowed) {
            true => Ok(InstanceName(text.into())),
            false => Err(BadText("a name has letters, digits, - and _, at most 64 of them")),
        }
    }
}

/// Ports from one to another: `"10240-32767"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// From `first` to `last`, both of them included.
    pub(crate) const fn new(first: u16, last: u16) -> PortRange {
        PortRange { first, last }
    }

    /// The first one.
    pub fn first(self) -> u16 {
        self.first
    }

    /// How many there are, at least one.
    pub fn count(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = BadText;

    fn from_str(text: &str) -> Result<PortRange, BadText> {
        const EXPECTED: BadText = BadText("ports are written \"10240-32767\"");
        let (first, last) = text.split_once('-').ok_or(EXPECTED)?;
        let number = |text: &str| {
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| is_number).ok_or(EXPECTED)
        };
        match (number(first)?, number(last)?) {
            (0, _) => Err(BadText("port 0 is none")),
            (first, last) if first > last => Err(BadText("ends before it begins")),
            (first, last) => Ok(PortRange { first, last }),
        }
    }
}

text_settings! {
    InterfaceName: "the name of a network interface, such as \"eth0\"";
    InstanceName: "a name: letters, digits, - and _";
    PortRange: "a range of ports: \"10240-32767\"";
}
