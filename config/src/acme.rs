//! `tls.acme`: certificates that the appliance gets and renews itself (RFC 8555).

use std::path::PathBuf;

use crate::files::Content;
use crate::grammar::reader::TableReader;
use crate::grammar::section::{choice, section};
use crate::grammar::setting::ListOf;
use crate::tls::check_file;
use crate::values::server_name::ServerName;
use crate::values::url::HttpsUrl;

section! {
    /// How a certificate is had from an authority. Whoever sets it agrees to the authority's
    /// terms.
    pub struct Acme("acme", check = check_acme) {
        /// The hosts that the certificate is for. Wildcards can't be had in these ways.
        names: Vec<ServerName>, in NAMES;
        /// Where the authority writes to when something is wrong: an e-mail address.
        contact: Option<String> = None, in 3..=254;
        /// The authority's directory.
        directory: HttpsUrl = HttpsUrl::lets_encrypt();
        /// The authority of the directory's own certificate, in PEM; the system's if not set.
        directory_ca: Option<PathBuf> = None;
        /// How we show that the hosts are ours.
        challenge: AcmeChallenge = AcmeChallenge::Http01;
        /// The folder of accounts, keys and certificates.
        state: PathBuf = PathBuf::from(STATE);
    }
}

choice! {
    /// How an authority sees that a host is ours.
    pub enum AcmeChallenge("acme-challenge") {
        /// It asks for a file over plain HTTP, on port 80 of the host: any listener of ours may
        /// be there, and answers before its routes.
        Http01 = "http-01",
        /// It opens a TLS connection to port 443 of the host, which has to be this listener.
        TlsAlpn01 = "tls-alpn-01",
    }
}

fn check_acme(acme: &Acme, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    for (index, name) in acme.names.iter().enumerate() {
        let repeated = acme.names[..index].contains(name);
        let problem = match name.is_address() {
            true => "an authority signs names here, no addresses",
            false if repeated => "stands here twice",
            false => continue,
        };
        let span = table.span_of_item("names", index);
        return table.reader.below("names", |reader| {
            reader.at(index, |reader| reader.contradict(span, problem.to_owned()))
        });
    }
    if let Some(path) = &acme.directory_ca {
        check_file(path, "directory_ca", table, |bytes| Content::Authorities(bytes))?;
    }
    if acme.contact.as_ref().is_some_and(|contact| !is_email(contact)) {
        return table.contradict("contact", "not an e-mail address such as \"ops@example.com\"");
    }
    Some(())
}

/// RFC 5321 §4.1.2, as far as it keeps out what is none: it becomes part of a `mailto:` URL.
fn is_email(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+@".contains(&byte);
    text.bytes().all(plain)
        && text
            .split_once('@')
            .is_some_and(|(who, host)| !who.is_empty() && host.contains('.') && !host.contains('@'))
}

const STATE: &str = "/var/lib/penstock/acme";
/// Let's Encrypt puts as many into a certificate.
const NAMES: ListOf<()> = ListOf { item: (), count_min: 1, count_max: 100, bare: true };
