//! Who a peer is, by the certificate that it presented, and how others are told.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::certificate::Fingerprint;
use crate::x509::X509;

/// What a verified certificate says of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The subject, as in `CN=ada,O=Example`.
    pub subject: Box<str>,
    /// Who signed it.
    pub issuer: Box<str>,
    /// The serial number, in hexadecimal.
    pub serial: Box<str>,
    /// The DNS names among the SANs, in their order.
    pub dns: Box<[Box<str>]>,
    /// The URIs among the SANs: SPIFFE ids, mostly.
    pub uris: Box<[Box<str>]>,
    /// The digest of the whole certificate.
    pub fingerprint: Fingerprint,
    /// What endpoints are told, in the forms that were asked for.
    pub told: Box<[(Telling, Box<str>)]>,
}

/// A form in which endpoints are told of a downstream's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// The certificate itself, as RFC 9440 §2.2 has it.
    ClientCert,
    /// Digest, subject and names, as Envoy has them.
    XForwardedClientCert,
}

impl Telling {
    /// The name of the header field.
    pub fn field(self) -> &'static str {
        match self {
            Telling::ClientCert => "Client-Cert",
            Telling::XForwardedClientCert => "X-Forwarded-Client-Cert",
        }
    }
}

impl Identity {
    /// From a certificate that was verified; `None` if it can't be read, which verification
    /// excludes.
    pub(crate) fn of(der: &[u8], tellings: &[Telling]) -> Option<Identity> {
        let read = X509::read(der)?;
        let boxed = |names: Vec<&str>| names.into_iter().map(Into::into).collect();
        let mut identity = Identity {
            subject: read.subject.into(),
            issuer: read.issuer.into(),
            serial: read.serial.iter().map(|byte| format!("{byte:02x}")).collect(),
            dns: boxed(read.dns),
            uris: boxed(read.uris),
            fingerprint: Fingerprint::of(der),
            told: Box::default(),
        };
        let tell = |&telling: &Telling| (telling, identity.tell(telling, der).into());
        let told: Box<[(Telling, Box<str>)]> = tellings.iter().map(tell).collect();
        identity.told = told;
        Some(identity)
    }

    fn tell(&self, telling: Telling, der: &[u8]) -> String {
        match telling {
            // RFC 8941 §3.3.5: a byte sequence is base64 between colons.
            Telling::ClientCert => format!(":{}:", STANDARD.encode(der)),
            Telling::XForwardedClientCert => {
                let mut value = format!("Hash={};Subject=", self.fingerprint);
                quote(&self.subject, &mut value);
                for (key, names) in [(";URI=", &self.uris), (";DNS=", &self.dns)] {
                    for name in names {
                        value.push_str(key);
                        let plain =
                            |byte: u8| byte.is_ascii_graphic() && !b",;=\"\\".contains(&byte);
                        match name.bytes().all(plain) {
                            true => value.push_str(name),
                            false => quote(name, &mut value),
                        }
                    }
                }
                value
            }
        }
    }
}

/// In quotes, so that nothing in `text` ends the value or adds another key to it.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            // No field value has these (RFC 9110 §5.5). Writing to a String cannot fail.
            letter if letter.is_control() => drop(write!(out, "%{:02X}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::{Identity, Telling, quote};
    use crate::certificate::Fingerprint;

    #[test]
    fn no_name_ends_a_quoted_value_or_begins_a_line() {
        let mut out = String::new();
        quote("CN=a\\\"b;URI=spiffe://admin\r\nx: y,", &mut out);
        assert_eq!(out, r#""CN=a\\\"b;URI=spiffe://admin%0D%0Ax: y,""#);
    }

    #[test]
    fn every_name_is_told_in_its_order() {
        let identity = Identity {
            subject: "CN=ada".into(),
            issuer: "CN=ca".into(),
            serial: "01".into(),
            dns: ["ada.example", "*.ada.example"].map(Into::into).into(),
            uris: ["spiffe://a/b", "urn:x;DNS=root"].map(Into::into).into(),
            fingerprint: Fingerprint([0xab; 32]),
            told: Box::default(),
        };
        assert_eq!(
            identity.tell(Telling::XForwardedClientCert, b""),
            format!(
                "Hash={};Subject=\"CN=ada\";URI=spiffe://a/b;URI=\"urn:x;DNS=root\";\
                 DNS=ada.example;DNS=*.ada.example",
                "ab".repeat(32)
            )
        );
        // RFC 9440's own example begins like this.
        assert_eq!(identity.tell(Telling::ClientCert, &[0x30, 0x82, 0x01, 0xa8]), ":MIIBqA==:");
    }
}
