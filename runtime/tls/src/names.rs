//! The host names that a certificate is for, and which names those cover.

use std::net::IpAddr;

/// The names of one certificate, in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Exact host names.
    pub exact: Vec<Box<str>>,
    /// Of `*.example.com`, the part behind `*.`.
    pub wildcard: Vec<Box<str>>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

impl Names {
    /// Adds a DNS name as it stands in a certificate. One that no host can have is passed over.
    pub(crate) fn add(&mut self, name: &str) {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        match name.strip_prefix("*.") {
            Some(rest) if is_host(rest) => self.wildcard.push(rest.into()),
            None if is_host(&name) => self.exact.push(name.into()),
            _ => {}
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty() && self.addresses.is_empty()
    }

    /// Whether the certificate is for `host`, which is in lower case.
    ///
    /// RFC 9525 §6.3: a wildcard stands for exactly one label, the first.
    pub fn cover(&self, host: &str) -> bool {
        if self.exact.iter().any(|name| **name == *host) {
            return true;
        }
        let parent = host.split_once('.').map(|(_, parent)| parent);
        if parent.is_some_and(|parent| self.wildcard.iter().any(|name| **name == *parent)) {
            return true;
        }
        !self.addresses.is_empty()
            && address_of(host).is_some_and(|address| self.addresses.contains(&address))
    }

    /// The names as they are shown: host names, wildcards, addresses.
    pub fn shown(&self) -> Vec<String> {
        let wildcards = self.wildcard.iter().map(|name| format!("*.{name}"));
        let exact = self.exact.iter().map(ToString::to_string);
        exact.chain(wildcards).chain(self.addresses.iter().map(ToString::to_string)).collect()
    }
}

/// The host of an authority, without its port: `a.example:443`, `[::1]:443`.
pub(crate) fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(host, _)| host);
    }
    authority.split_once(':').map_or(authority, |(host, _)| host)
}

/// Whether a connection that was opened for `server_name` may carry requests for `authority`:
/// either it is that name, or the certificates for that name, `served`, cover it too.
///
/// RFC 9110 §7.4: a request for an authority that the connection is not for is misdirected, 421.
/// RFC 9113 §9.1.1: a connection may be used for whatever its certificate covers.
pub fn covers<'n>(
    server_name: &str,
    authority: &str,
    mut served: impl Iterator<Item = &'n Names>,
) -> bool {
    let host = host_of(authority).trim_end_matches('.');
    if host.eq_ignore_ascii_case(server_name.trim_end_matches('.')) {
        return true;
    }
    let host = host.to_ascii_lowercase();
    served.any(|names| names.cover(&host))
}

fn address_of(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}

/// RFC 1123 §2.1, and the underscore that is seen in the field.
fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    name.len() <= 253 && name.split('.').all(label)
}
