//! `grpc-timeout`: how long the caller waits.

use std::time::Duration;

/// The time that a call has, as its field says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(Duration);

impl Timeout {
    /// Reads the field: up to eight digits and a unit (`PROTOCOL-HTTP2.md`, Timeout). `None` for
    /// what isn't that.
    pub fn of_field(value: &[u8]) -> Option<Timeout> {
        let (&unit, digits) = value.split_last()?;
        if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit)
        {
            return None;
        }
        let number = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        Some(Timeout(match unit {
            b'H' => Duration::from_secs(number * 3600),
            b'M' => Duration::from_secs(number * 60),
            b'S' => Duration::from_secs(number),
            b'm' => Duration::from_millis(number),
            b'u' => Duration::from_micros(number),
            b'n' => Duration::from_nanos(number),
            _ => return None,
        }))
    }

    /// A call with this much time left.
    pub fn of(left: Duration) -> Timeout {
        Timeout(left)
    }

    /// The time.
    pub fn duration(self) -> Duration {
        self.0
    }

    /// The field for it: in the finest unit that has room, rounded down, so that whoever gets it
    /// never waits longer than who sent it. At least 1: there is no field for no time.
    pub fn put(self, out: &mut Vec<u8>) {
        let units = [
            (self.0.as_nanos(), b'n'),
            (self.0.as_micros(), b'u'),
            (self.0.as_millis(), b'm'),
            (u128::from(self.0.as_secs()), b'S'),
            (u128::from(self.0.as_secs() / 60), b'M'),
        ];
        let fits = units.into_iter().find(|&(number, _)| number <= NUMBER_MAX);
        let hours = u128::from(self.0.as_secs() / 3600).min(NUMBER_MAX);
        let (number, unit) = fits.unwrap_or((hours, b'H'));
        out.extend_from_slice(number.max(1).to_string().as_bytes());
        out.push(unit);
    }
}

const DIGITS_MAX: usize = 8;
const NUMBER_MAX: u128 = 99_999_999;
