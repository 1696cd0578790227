//! `grpc-retry-pushback-ms`: what an endpoint says of asking it, or its like, again.

use std::time::Duration;

/// What the trailers of a call that failed say of another try (gRPC's proposal A6, "Pushback").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushback {
    /// There shall be none.
    Never,
    /// There may be one after so long.
    After(Duration),
}

impl Pushback {
    /// Reads the field. A6: a value that is negative, or that can't be read, says never.
    pub fn of_field(value: &[u8]) -> Pushback {
        let number = |digits| str::from_utf8(digits).ok()?.parse().ok();
        match value.first() {
            Some(b'0'..=b'9') => number(value).map_or(Pushback::Never, |ms: u32| {
                Pushback::After(Duration::from_millis(u64::from(ms)))
            }),
            _ => Pushback::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pushback;

    #[test]
    fn milliseconds_or_never() {
        for (value, ms) in [
            ("0", Some(0)),
            ("250", Some(250)),
            ("007", Some(7)),
            ("-1", None),
            ("+1", None),
            ("", None),
            ("1s", None),
            ("4294967296", None),
        ] {
            let after = |ms| Pushback::After(Duration::from_millis(ms));
            let expected = ms.map_or(Pushback::Never, after);
            assert_eq!(Pushback::of_field(value.as_bytes()), expected, "{value:?}");
        }
    }
}
