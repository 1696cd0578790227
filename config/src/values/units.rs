//! Quantities as people write them: durations `"5s"`, sizes `"4MiB"`, ratios `"5%"`.
//!
//! Each has one reader and one writer that undo each other.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::values::text::BadText;

/// An amount of memory or data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// `count` bytes.
    pub const fn bytes(count: u64) -> ByteSize {
        ByteSize(count)
    }

    /// `count` times 1,024 bytes.
    pub const fn kib(count: u64) -> ByteSize {
        ByteSize(count << 10)
    }

    /// `count` times 1,048,576 bytes.
    pub const fn mib(count: u64) -> ByteSize {
        ByteSize(count << 20)
    }

    /// `count` times 1,073,741,824 bytes.
    pub const fn gib(count: u64) -> ByteSize {
        ByteSize(count << 30)
    }

    /// The number of bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The number of bytes, as the size of a buffer in memory.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// Plain digits, or the largest binary unit that divides the size: `4KiB`.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZE_UNITS.iter().find(|(_, bytes)| self.0 != 0 && self.0.is_multiple_of(*bytes)) {
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0 / bytes),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for ByteSize {
    type Err = BadText;

    fn from_str(text: &str) -> Result<ByteSize, BadText> {
        let (count, unit) = number_and_unit(text)?;
        if unit.is_empty() {
            return Ok(ByteSize(count));
        }
        let Some((_, bytes)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(BadText("the unit is KiB, MiB or GiB, or none for bytes"));
        };
        count.checked_mul(*bytes).map(ByteSize).ok_or(BadText("too large"))
    }
}

/// A share in hundredths of a percent: exact, ordered, and equal to itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(u32);

impl Ratio {
    /// `count` percent.
    pub const fn percent(count: u32) -> Ratio {
        Ratio(count * 100)
    }

    /// Hundredths of a percent: 10,000 is the whole.
    pub const fn as_basis_points(self) -> u32 {
        self.0
    }

    /// The share as a factor: `50%` is 0.5.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

/// `5%`, `12.5%`, `0.01%`.
impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match rest {
            0 => write!(f, "{whole}%"),
            rest if rest % 10 == 0 => write!(f, "{whole}.{}%", rest / 10),
            rest => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

impl FromStr for Ratio {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Ratio, BadText> {
        const EXPECTED: BadText = BadText("a ratio is a percentage such as \"5%\" or \"12.5%\"");
        let number = text.strip_suffix('%').ok_or(EXPECTED)?;
        let (whole, rest) = number.split_once('.').unwrap_or((number, "0"));
        let is_digits = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        let fits = (1..=6).contains(&whole.len()) && (1..=2).contains(&rest.len());
        if !fits || !is_digits(whole) || !is_digits(rest) {
            return Err(EXPECTED);
        }
        let hundredths = if rest.len() == 1 { 10 } else { 1 };
        let (whole, rest) = (whole.parse::<u32>(), rest.parse::<u32>());
        let (Ok(whole), Ok(rest)) = (whole, rest) else { return Err(EXPECTED) };
        Ok(Ratio(whole * 100 + rest * hundredths))
    }
}

/// How much of a cluster's or a route's traffic something takes, beside its siblings' weights.
/// Zero takes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// The weight of whoever was given none.
    pub const ONE: Weight = Weight(1);

    /// A weight of `count` shares.
    pub const fn new(count: u16) -> Weight {
        Weight(count)
    }

    /// The number of shares.
    pub const fn shares(self) -> u32 {
        self.0 as u32
    }
}

/// Reads `"500ms"`, `"5s"`, `"1m"`, `"1h"`.
pub(crate) fn duration_from_text(text: &str) -> Result<Duration, BadText> {
    let (count, unit) = number_and_unit(text)?;
    let Some((_, ms)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(match unit {
            "" => BadText("a duration needs its unit: \"500ms\", \"5s\", \"1m\" or \"1h\""),
            _ => BadText("the unit is ms, s, m or h"),
        });
    };
    count.checked_mul(*ms).map(Duration::from_millis).ok_or(BadText("too long"))
}

/// Writes a duration in the largest unit that divides it. Fractions of a millisecond, which no
/// text can have given, are dropped.
pub(crate) fn duration_to_text(duration: Duration) -> String {
    let total = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let whole = DURATION_UNITS.iter().find(|(_, ms)| total % ms == 0 && total != 0);
    let (unit, ms) = whole.unwrap_or(&("s", 1_000));
    format!("{}{unit}", total / ms)
}

fn number_and_unit(text: &str) -> Result<(u64, &str), BadText> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(BadText("starts with a whole number"));
    }
    let number = number.parse().map_err(|_| BadText("too large"))?;
    Ok((number, unit))
}

/// Largest first: the first that divides is the one to write.
const DURATION_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Largest first, as above.
const SIZE_UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
