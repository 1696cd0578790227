//! What the proxy refuses: fields that a head can't have, and what is larger than a hostcall hands
//! over.

use penstock_filters_sdk_abi::{MapType, Status};

/// RFC 9110 §5.6.2, §5.5: a name is a token, a value has no line breaks or NUL. Pseudo-fields are
/// those that the map has, with values that they may have.
pub(super) fn check_field(map: MapType, name: &str, value: &[u8]) -> Result<(), Status> {
    let fits = match name {
        ":path" => value.first() == Some(&b'/') && is_target(value),
        ":method" => is_token(value),
        ":authority" => is_target(value) && !value.contains(&b'/'),
        ":scheme" => true,
        ":status" => str::from_utf8(value).is_ok_and(|text| {
            text.len() == 3 && text.parse().is_ok_and(|status| (200..600).contains(&status))
        }),
        _ => {
            is_token(name.as_bytes()) && !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
        }
    };
    let belongs = match (name, map) {
        (":status", map) => map == MapType::ResponseHeaders,
        (name, map) => !name.starts_with(':') || map == MapType::RequestHeaders,
    };
    if fits && belongs { Ok(()) } else { Err(Status::BadArgument) }
}

fn is_token(text: &[u8]) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(token)
}

/// Visible ASCII without a fragment.
fn is_target(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#')
}

/// `:scheme` is the listener's: a change is taken and means nothing.
pub(super) fn is_fixed(name: &str) -> bool {
    name == ":scheme"
}

/// A hostcall hands over no more than `hostcall_bytes_max`, which is this if nothing else is set.
pub(super) fn check_size(bytes: usize) -> Result<(), Status> {
    if bytes <= 4 << 20 { Ok(()) } else { Err(Status::InternalFailure) }
}
