//! Now, as text.

use rustix::time::{ClockId, clock_gettime};

/// Now in RFC 3339, UTC, with nanoseconds.
pub fn now() -> String {
    let now = clock_gettime(ClockId::Realtime);
    text(now.tv_sec, now.tv_nsec)
}

/// Seconds and nanoseconds since 1970. The calendar: Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
fn text(seconds: i64, nanoseconds: i64) -> String {
    const DAY: i64 = 86_400;
    const ERA: i64 = 146_097;
    let (days, rest) = (seconds.div_euclid(DAY) + 719_468, seconds.rem_euclid(DAY));
    let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (date, month) = (day_of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_is_right_around_leap_days_and_years() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (4_102_444_800, "2100-01-01T00:00:00"),
        ] {
            assert_eq!(text(seconds, 7), format!("{expected}.000000007Z"));
        }
    }
}
