//! nginx' combined format, so that what reads it goes on working, then `key=value` for the rest.

use std::io::Write;

use penstock_env::Unix;

use super::escape;
use super::format::Names;
use super::record::{AccessRecord, Peer, Text};

/// Appends the line.
pub(super) fn write(record: &AccessRecord, names: &Names, out: &mut Vec<u8>) {
    // Writing to a `Vec` cannot fail, here and below.
    let _ = match record.downstream {
        Peer::Ip(ip, _) => write!(out, "{ip}"),
        other => write!(out, "{other}"),
    };
    let Civil { year, month, day, hour, minute, second, .. } = Civil::new(record.start);
    let month = MONTHS[month as usize - 1];
    let _ =
        write!(out, " - - [{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000] \"");
    escape::text(out, record.text(Text::Method), b' ');
    out.push(b' ');
    escape::text(out, record.text(Text::Path), b' ');
    let protocol = record.protocol.as_str();
    let _ = write!(out, " {protocol}\" {} {} \"", record.status, record.bytes_out);
    or_dash(out, record.text(Text::Referer), b'"');
    out.extend_from_slice(b"\" \"");
    or_dash(out, record.text(Text::UserAgent), b'"');
    out.extend_from_slice(b"\" host=");
    or_dash(out, record.text(Text::Host), b' ');
    for (key, value) in [
        ("listener", Some(names.listener(record))),
        ("route", names.route(record)),
        ("cluster", names.cluster(record)),
        ("cause", names.cause(record)),
    ] {
        let _ = write!(out, " {key}=");
        or_dash(out, value.unwrap_or_default().as_bytes(), b' ');
    }
    let seconds = (record.total_us / 1_000_000, record.total_us % 1_000_000);
    let (endpoint, attempts) = (record.endpoint, record.attempts);
    let _ = write!(
        out,
        " endpoint={endpoint} attempts={attempts} time={}.{:06} trace=",
        seconds.0, seconds.1
    );
    if record.trace_id == [0; 16] {
        out.push(b'-');
    } else {
        escape::hex(out, &record.trace_id);
    }
    out.push(b'\n');
}

fn or_dash(out: &mut Vec<u8>, bytes: &[u8], also: u8) {
    escape::text(out, if bytes.is_empty() { b"-" } else { bytes }, also);
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A time of day by the Gregorian calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    pub(super) year: u64,
    pub(super) month: u64,
    pub(super) day: u64,
    pub(super) hour: u64,
    pub(super) minute: u64,
    pub(super) second: u64,
    pub(super) us: u64,
}

impl Civil {
    /// Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`: years begin in
    /// March, so that the leap day is a year's last.
    pub(super) fn new(time: Unix) -> Self {
        let (seconds, us) = (time.us / 1_000_000, time.us % 1_000_000);
        let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
        // 719,468 days from 0000-03-01 to 1970-01-01; 146,097 days in 400 years.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // 153 days in the five months from March to July, and from August to December.
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Civil {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            hour: second_of_day / 3_600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
            us,
        }
    }
}
