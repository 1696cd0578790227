//! `Retry-After`: for how long an endpoint wants to be left alone.

use std::time::{Duration, UNIX_EPOCH};

/// How long the field's value asks to wait (RFC 9110 §10.2.3) of somebody for whom it is `unix`
/// since 1970-01-01T00:00:00Z: seconds, or a date. A date that is over asks for nothing; `None`
/// for what is neither.
pub fn retry_after(value: &[u8], unix: Duration) -> Option<Duration> {
    if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
        // More than eighteen digits are for ever, too.
        let seconds = str::from_utf8(value).ok()?.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(str::from_utf8(value).ok()?).ok()?;
    let date = date.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(date.saturating_sub(unix))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::retry_after;

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        // 1994-11-06T08:49:37Z is 784,111,777; it is ten seconds earlier.
        let unix = Duration::from_secs(784_111_767);
        for (value, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("99999999999999999999999", Some(u64::MAX)),
            // RFC 9110 §5.6.7: all three forms are to be understood.
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(10)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(10)),
            ("Sun Nov  6 08:49:37 1994", Some(10)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("1, 2", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(value.as_bytes(), unix), expected, "{value:?}");
        }
    }
}
