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
    /// What signed it, as RFC 9440 §2.3 has it.
    ClientCertChain,
    /// Digest, subject and names, as Envoy has them.
    XForwardedClientCert,
}

impl Telling {
    /// The name of the header field.
    pub fn field(self) -> &'static str {
        match self {
            Telling::ClientCert => "Client-Cert",
            Telling::ClientCertChain => "Client-Cert-Chain",
            Telling::XForwardedClientCert => "X-Forwarded-Client-Cert",
        }
    }
}

impl Identity {
    /// From a chain that was verified, the owner's certificate first; `None` if that can't be
    /// read, which verification excludes.
    pub(crate) fn of(chain: &[impl AsRef<[u8]>], tellings: &[Telling]) -> Option<Identity> {
        let (der, others) = chain.split_first()?;
        let (der, read) = (der.as_ref(), X509::read(der.as_ref())?);
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
        let tell = |&telling: &Telling| {
            let value = match telling {
                Telling::ClientCert => byte_sequence(der),
                Telling::ClientCertChain => {
                    let signers = others.iter().take(SIGNERS_MAX).map(AsRef::as_ref);
                    signers.map(byte_sequence).collect::<Vec<_>>().join(", ")
                }
                Telling::XForwardedClientCert => identity.as_envoy_has_it(),
            };
            // RFC 8941 §3.1: a list without members is no field.
            (!value.is_empty()).then(|| (telling, value.into()))
        };
        let told: Box<[(Telling, Box<str>)]> = tellings.iter().filter_map(tell).collect();
        identity.told = told;
        Some(identity)
    }

    fn as_envoy_has_it(&self) -> String {
        let mut value = format!("Hash={};Subject=", self.fingerprint);
        quote(&self.subject, &mut value);
        for (key, names) in [(";URI=", &self.uris), (";DNS=", &self.dns)] {
            for name in names {
                value.push_str(key);
                let plain = |byte: u8| byte.is_ascii_graphic() && !b",;=\"\\".contains(&byte);
                match name.bytes().all(plain) {
                    true => value.push_str(name),
                    false => quote(name, &mut value),
                }
            }
        }
        value
    }
}

/// RFC 8941 §3.3.5: base64 between colons.
fn byte_sequence(der: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(der))
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

/// Certificates that are told of in a chain: nobody has so many authorities.
const SIGNERS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::{Identity, byte_sequence, quote};
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
            identity.as_envoy_has_it(),
            format!(
                "Hash={};Subject=\"CN=ada\";URI=spiffe://a/b;URI=\"urn:x;DNS=root\";\
                 DNS=ada.example;DNS=*.ada.example",
                "ab".repeat(32)
            )
        );
        // RFC 9440's own example begins like this.
        assert_eq!(byte_sequence(&[0x30, 0x82, 0x01, 0xa8]), ":MIIBqA==:");
    }
}
