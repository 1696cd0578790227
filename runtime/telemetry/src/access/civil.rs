//! Dates and times of day, in UTC.

use penstock_env::Unix;

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
