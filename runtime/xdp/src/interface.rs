//! Interfaces by name.

use std::ffi::CString;

use crate::XdpError;

/// A network interface of this namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    name: String,
    index: u32,
}

impl Interface {
    /// The interface of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Self, XdpError> {
        let absent = || XdpError::NoInterface(name.to_owned());
        let text = CString::new(name).map_err(|_| absent())?;
        // SAFETY: a string with its end; it is only read.
        match unsafe { libc::if_nametoindex(text.as_ptr()) } {
            0 => Err(absent()),
            index => Ok(Interface { name: name.to_owned(), index }),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its index, which packets and links go by.
    pub fn index(&self) -> u32 {
        self.index
    }
}
