//! The files that a config names, seen through the caller: this crate opens none itself.

use std::io;
use std::path::Path;

/// Reads the files that a config names (filter modules, token files), so that a missing one is
/// found at its place in the text.
///
/// Relative paths are given as written; the implementor decides what they are relative to.
pub trait Files {
    /// The whole content of the file at `path`.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Looks into what was read, as far as the implementor understands it; what is wrong with
    /// it, as the end of a sentence.
    ///
    /// # Errors
    /// It is not what its key wants.
    fn examine(&self, content: &Content<'_>) -> Result<(), String> {
        let _ = content;
        Ok(())
    }

    /// False where files are not looked at at all, as by an editor or on another machine.
    fn are_checked(&self) -> bool {
        true
    }
}

/// What files hold that this crate does not understand itself.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// A certificate with its key.
    Certificate {
        /// The chain, in PEM.
        cert: &'a [u8],
        /// The key, in PEM.
        key: &'a [u8],
    },
    /// The key of a certificate, looked into before that.
    Key {
        /// The chain, in PEM.
        cert: &'a [u8],
        /// The key, in PEM.
        key: &'a [u8],
    },
    /// What is stapled to a certificate that is right in itself.
    Staple {
        /// The chain, in PEM.
        cert: &'a [u8],
        /// The key, in PEM.
        key: &'a [u8],
        /// The OCSP response, in DER.
        response: &'a [u8],
    },
    /// Certificates of authorities, in PEM.
    Authorities(&'a [u8]),
    /// Lists of revoked certificates, in PEM or DER.
    RevocationLists(&'a [u8]),
    /// Secrets of session tickets.
    TicketSecrets(&'a [u8]),
}

/// Looks at no file: every path is taken to be right.
#[derive(Clone, Copy, Debug, Default)]
pub struct UncheckedFiles;

impl Files for UncheckedFiles {
    fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn are_checked(&self) -> bool {
        false
    }
}
