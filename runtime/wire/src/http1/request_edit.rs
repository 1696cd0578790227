//! Edits of a request's start line and authority, and requests made from nothing.

use super::Version;
use super::error::EditError;
use super::field::Span;
use super::framing::Framing;
use super::known::Known;
use super::request::{Method, RequestHead};
use super::target::{self, TargetForm};
use super::{host, token};

impl RequestHead {
    /// Makes the head of a request of our own, HTTP/1.1, with `Host` and no body.
    ///
    /// # Errors
    /// When a part is malformed.
    pub fn start(
        &mut self,
        method: &[u8],
        path_and_query: &[u8],
        authority: &[u8],
    ) -> Result<(), EditError> {
        self.clear();
        self.keep_alive = true;
        self.set_method(method)?;
        self.set_path_and_query(path_and_query)?;
        self.set_authority(authority)
    }

    /// Replaces the method.
    ///
    /// # Errors
    /// When it is no token, is longer than any method, or is CONNECT, which changes what a
    /// target is.
    pub fn set_method(&mut self, method: &[u8]) -> Result<(), EditError> {
        let valid = token::is_token(method) && method.len() <= super::scan::METHOD_BYTES_MAX;
        let connects = Method::of(method) == Method::Connect || self.method == Method::Connect;
        if !valid || connects {
            return Err(EditError::Invalid { what: "method" });
        }
        self.method_name = self.fields.store(method)?;
        self.method = Method::of(method);
        self.line = None;
        Ok(())
    }

    /// The length that it says of the body.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Says no more how long the body is.
    pub fn forget_length(&mut self) {
        self.fields.remove_length();
        self.length = None;
    }

    /// Replaces path and query; the target is then in origin form.
    ///
    /// # Errors
    /// When it does not begin with a slash, or holds a byte that no target has.
    pub fn set_path_and_query(&mut self, path_and_query: &[u8]) -> Result<(), EditError> {
        let valid = path_and_query.first() == Some(&b'/') && token::is_target(path_and_query);
        if !valid || self.form == TargetForm::Authority {
            return Err(EditError::Invalid { what: "path" });
        }
        self.path_and_query = self.fields.store(path_and_query)?;
        self.path_bytes = target::path_bytes(path_and_query) as u32;
        if self.form == TargetForm::Asterisk {
            self.form = TargetForm::Origin;
        }
        self.line = None;
        Ok(())
    }

    /// Replaces the authority, and `Host` with it.
    ///
    /// # Errors
    /// When it is no host with an optional port.
    pub fn set_authority(&mut self, authority: &[u8]) -> Result<(), EditError> {
        let Some(parts) = host::split(authority) else {
            return Err(EditError::Invalid { what: "authority" });
        };
        if self.form == TargetForm::Authority {
            return Err(EditError::Invalid { what: "authority" });
        }
        self.fields.put(Known::Host, b"Host", authority)?;
        let span = self.fields.list.iter().find(|field| field.known == Known::Host);
        self.authority = span.map(|field| field.value);
        self.host_bytes = parts.host.len() as u32;
        self.port = parts.port;
        Ok(())
    }

    /// Says how the body that goes upstream is framed; the fields follow when it is written.
    pub fn set_framing(&mut self, framing: Framing) {
        self.framing = framing;
    }

    /// Has the head say that trailers are taken (`TE: trailers`), whoever sent it.
    pub fn take_trailers(&mut self) {
        self.te_trailers = true;
    }

    /// Keeps the start line as it was received, up to `end`, if it can be forwarded as it stands.
    pub(super) fn keep_line(&mut self, end: u32) {
        let verbatim = matches!(self.form, TargetForm::Origin | TargetForm::Asterisk)
            && self.version == Version::Http11;
        self.line = verbatim.then_some(Span { start: self.method_name.start, end });
    }
}
