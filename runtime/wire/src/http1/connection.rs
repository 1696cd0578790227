//! The options of `Connection`: whether to keep it, and which other fields end here.

use super::error::HeadError;
use super::field::HOP;
use super::fields::Fields;
use super::known::Known;
use super::token;

/// What the `Connection` fields of a message asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

/// Reads all `Connection` fields and marks what they nominate as hop-by-hop.
///
/// RFC 9110 §7.6.1: an intermediary removes the nominated fields before it forwards. `Host` and
/// `Content-Length` are not the connection's to take away: nominating them changes nothing.
pub(super) fn read_options(fields: &mut Fields) -> Result<Options, HeadError> {
    let mut options = Options::default();
    let mut count = 0;
    let Fields { bytes, list } = fields;
    for index in 0..list.len() {
        if list[index].known != Known::Connection {
            continue;
        }
        let value = list[index].value.range();
        for option in token::list(&bytes[value]) {
            count += 1;
            if count > OPTIONS_MAX {
                return Err(HeadError::TooManyConnectionOptions { max: OPTIONS_MAX });
            }
            if option.eq_ignore_ascii_case(b"close") {
                options.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                options.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                options.upgrade = true;
            } else {
                for field in list.iter_mut() {
                    let kept = matches!(field.known, Known::Host | Known::ContentLength);
                    if !kept && field.name.of(bytes).eq_ignore_ascii_case(option) {
                        field.flags |= HOP;
                    }
                }
            }
        }
    }
    Ok(options)
}

/// Each nominated name is compared with each field; 32 x 256 comparisons are the most.
const OPTIONS_MAX: usize = 32;
