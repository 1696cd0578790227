//! Who a downstream is, by its certificate: what endpoints are told of it, what routes match on.

use std::fmt;

use crate::grammar::section::choice;

choice! {
    /// A header field that tells endpoints of a downstream's verified certificate.
    pub enum ClientField("client-field") {
        /// `Client-Cert`: the whole certificate (RFC 9440).
        ClientCert = "client-cert",
        /// `Client-Cert-Chain`: what it presented of those that signed it, beside `client-cert`.
        ClientCertChain = "client-cert-chain",
        /// `X-Forwarded-Client-Cert`: digest, subject and names, as Envoy writes them.
        XForwardedClientCert = "x-forwarded-client-cert",
    }
}

choice! {
    /// What a certificate says of its owner.
    pub enum ClientAttribute("client-attribute") {
        /// The subject, as in `CN=ada,O=Example` (RFC 4514).
        Subject = "subject",
        /// The subject of the authority that signed it.
        Issuer = "issuer",
        /// The serial number, in lower-case hexadecimal digits.
        Serial = "serial",
        /// A DNS name among its alternative names; one of them has to match.
        Dns = "dns",
        /// A URI among its alternative names, such as a SPIFFE id; one of them has to match.
        Uri = "uri",
        /// The SHA-256 of the certificate, in lower-case hexadecimal digits.
        Sha256 = "sha256",
    }
}

impl ClientAttribute {
    /// The one that is called `name`.
    pub(crate) fn named(name: &str) -> Option<ClientAttribute> {
        ClientAttribute::ALL.iter().copied().find(|attribute| attribute.name() == name)
    }
}

impl fmt::Display for ClientAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
