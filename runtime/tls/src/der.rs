//! Elements in DER, one behind the other (X.690), as far as certificates and what belongs to them
//! are made of them.

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// What is left to read.
pub(crate) struct Der<'a>(pub(crate) &'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag, its content, and both with the header.
    pub(crate) fn next(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let input = self.0;
        let (&[tag, first], rest) = input.split_first_chunk::<2>()?;
        // X.690 §8.1.2.4: tags above 30 take more bytes; nothing that is read here has them.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
                (length, rest)
            }
            // Indefinite lengths are BER's alone.
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content, &input[..input.len() - rest.len()]))
    }

    /// The content of the next element, which has to have this tag.
    pub(crate) fn take(&mut self, expected: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, ..)| *tag == expected).map(|(_, content, _)| content)
    }

    /// The same with its header.
    pub(crate) fn whole(&mut self, expected: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, ..)| *tag == expected).map(|(.., whole)| whole)
    }

    /// The content of the next element, which has to be bits that fill whole bytes: keys and
    /// signatures.
    pub(crate) fn bits(&mut self) -> Option<&'a [u8]> {
        // X.690 §8.6.2.2: in front of them is how many of the last byte are unused.
        self.take(BIT_STRING)?.strip_prefix(&[0])
    }

    /// Passes over the next element where it has this tag.
    pub(crate) fn take_if(&mut self, expected: u8) {
        if self.0.first() == Some(&expected) {
            self.next();
        }
    }

    /// RFC 5280 §4.1.2.5: UTC, to the second.
    pub(crate) fn time(&mut self) -> Option<i64> {
        let (tag, text, _) = self.next()?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = number(text, 2)?;
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            GENERALIZED_TIME => number(text, 4)?,
            _ => return None,
        };
        let (month, rest) = number(rest, 2)?;
        let (day, rest) = number(rest, 2)?;
        let (hour, rest) = number(rest, 2)?;
        let (minute, rest) = number(rest, 2)?;
        let (second, rest) = number(rest, 2)?;
        let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
        let is_time = hour < 24 && minute < 60 && second <= 60;
        let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
        (rest == b"Z" && is_date && is_time).then_some(seconds)
    }
}

fn number(text: &[u8], digits: usize) -> Option<(i64, &[u8])> {
    let (number, rest) = text.split_at_checked(digits)?;
    let digit =
        |sum: i64, byte: &u8| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'));
    Some((number.iter().try_fold(0, digit)?, rest))
}

/// Days since 1970-01-01. Howard Hinnant, "chrono-compatible low-level date algorithms":
/// days_from_civil.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}
