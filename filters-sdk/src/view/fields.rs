//! The header fields of one message (or its trailers): read without a copy, changed in place.

use core::marker::PhantomData;

use penstock_filters_sdk_abi::{MapType, Status};

use crate::pairs::Headers;
use crate::sys;

/// The fields of a message. Requests, responses and trailers deref to it.
///
/// What is read stays borrowed until the callback returns, also past later changes:
///
/// ```
/// # extern crate penstock_filters_sdk as penstock;
/// # use penstock::Request;
/// fn remember_host(request: &mut Request<'_>) {
///     if let Some(host) = request.authority() {
///         request.set_header("x-original-host", host);
///         request.set_authority("internal.example");
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Fields<'a> {
    map: MapType,
    callback: PhantomData<&'a ()>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(map: MapType) -> Self {
        Self { map, callback: PhantomData }
    }

    /// The value of the field `name`, which is written in lower case; the first one if there are
    /// several. `None` also for a value that is not UTF-8, which
    /// [`header_bytes`](Self::header_bytes) has.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        core::str::from_utf8(self.header_bytes(name)?).ok()
    }

    /// The value of the field `name` as it came.
    pub fn header_bytes(&self, name: &str) -> Option<&'a [u8]> {
        sys::header(self.map, name).ok()
    }

    /// All fields with their values, pseudo-fields like `:path` among them: one call to the host
    /// for all of them together, so cheaper than three single ones.
    pub fn headers(&self) -> Headers<'a> {
        Headers::decode(sys::pairs(self.map).unwrap_or(&[]))
    }

    /// Every value of the field `name`, in order. What decides over access asks this and refuses a
    /// second value: which of two the upstream believes is anyone's guess.
    pub fn header_values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.headers()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// Sets the field `name` to `value`, in place of all that it had. A refusal (a value with a
    /// line break in it, say) is logged; use [`try_set_header`](Self::try_set_header) for values
    /// that come from outside.
    pub fn set_header(&mut self, name: &str, value: impl AsRef<[u8]>) {
        report(name, self.try_set_header(name, value));
    }

    /// Adds a field beside those of the same name. A refusal is logged.
    pub fn add_header(&mut self, name: &str, value: impl AsRef<[u8]>) {
        report(name, self.try_add_header(name, value));
    }

    /// Removes all fields called `name`. It is fine if there is none.
    pub fn remove_header(&mut self, name: &str) {
        report(name, sys::remove_header(self.map, name).map_err(Refused));
    }

    /// Sets the field `name`, or says that the host refused it.
    pub fn try_set_header(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), Refused> {
        sys::replace_header(self.map, name, value.as_ref()).map_err(Refused)
    }

    /// Adds a field, or says that the host refused it.
    pub fn try_add_header(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), Refused> {
        sys::add_header(self.map, name, value.as_ref()).map_err(Refused)
    }
}

/// The host did not make a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub(crate) Status);

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let why = match self.0 {
            Status::BadArgument => "this message can't have it, or not with this value",
            Status::InternalFailure => "`headers` is not granted to this filter",
            other => sys::words(other),
        };
        write!(f, "refused by the host: {why}")
    }
}

impl core::error::Error for Refused {}

fn report(name: &str, result: Result<(), Refused>) {
    if let Err(refused) = result {
        crate::error!("field {name}: {refused}");
    }
}
