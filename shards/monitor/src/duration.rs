//! Times and durations as Go prints them.

const SECOND_NS: u64 = 1_000_000_000;
const DAY_S: u64 = 24 * 60 * 60;

/// Whole seconds with days and years, as in `1y2d3h4m5s`; leading zero parts are left out.
pub fn uptime(ns: u64) -> String {
    let seconds = ns / SECOND_NS;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / DAY_S);
    let years = days / 365;
    let clock = format!("{}m{}s", minutes % 60, seconds % 60);
    if years > 0 {
        format!("{years}y{}d{}h{clock}", days % 365, hours % 24)
    } else if days > 0 {
        format!("{days}d{}h{clock}", hours % 24)
    } else if hours > 0 {
        format!("{hours}h{clock}")
    } else if minutes > 0 {
        clock
    } else {
        format!("{seconds}s")
    }
}

/// A duration as in `1h2m3.5s`, `1.5ms`, `12µs` or `0s`.
pub fn go_duration(ns: u64) -> String {
    match ns {
        0 => "0s".to_owned(),
        1..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => decimal(ns, 1_000, "µs"),
        1_000_000..SECOND_NS => decimal(ns, 1_000_000, "ms"),
        _ => {
            let (hours, minutes) = (ns / SECOND_NS / 3600, ns / SECOND_NS / 60);
            let rest = decimal(ns % (60 * SECOND_NS), SECOND_NS, "s");
            match (hours, minutes) {
                (0, 0) => rest,
                (0, _) => format!("{minutes}m{rest}"),
                _ => format!("{hours}h{}m{rest}", minutes % 60),
            }
        }
    }
}

/// UTC as in `2026-08-21T12:00:00.123456789Z`, without trailing zeros of the fraction.
pub fn rfc3339_nano(unix_ns: u64) -> String {
    let date = Date::at(unix_ns / SECOND_NS);
    let mut text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        date.year, date.month, date.day, date.hour, date.minute, date.second
    );
    push_fraction(&mut text, unix_ns % SECOND_NS, SECOND_NS);
    text.push('Z');
    text
}

/// The `Date` header of HTTP, as in `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(unix_ns: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = unix_ns / SECOND_NS;
    let date = Date::at(seconds);
    let weekday = DAYS[(seconds / DAY_S % 7) as usize];
    let month = MONTHS[date.month as usize - 1];
    format!(
        "{weekday}, {:02} {month} {:04} {:02}:{:02}:{:02} GMT",
        date.day, date.year, date.hour, date.minute, date.second
    )
}

fn decimal(ns: u64, unit_ns: u64, unit: &str) -> String {
    let mut text = (ns / unit_ns).to_string();
    push_fraction(&mut text, ns % unit_ns, unit_ns);
    text.push_str(unit);
    text
}

/// Appends `.123` for `part / whole`, a power of ten; nothing if it is 0.
fn push_fraction(text: &mut String, part: u64, whole: u64) {
    if part > 0 {
        let width = whole.ilog10() as usize;
        let digits = format!("{part:0width$}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
}

struct Date {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Date {
    /// In the proleptic Gregorian calendar. Years are counted from March, so that the leap day is a
    /// year's last, in eras of 400 years, which all have as many days.
    fn at(unix_s: u64) -> Date {
        const ERA_DAYS: u64 = 146_097;
        const DAYS_TO_1970: u64 = 719_468;
        let days = unix_s / DAY_S + DAYS_TO_1970;
        let (era, in_era) = (days / ERA_DAYS, days % ERA_DAYS);
        let year_in_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
        let in_year = in_era - (365 * year_in_era + year_in_era / 4 - year_in_era / 100);
        let from_march = (5 * in_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let clock = unix_s % DAY_S;
        Date {
            year: era * 400 + year_in_era + u64::from(month <= 2),
            month,
            day: in_year - (153 * from_march + 2) / 5 + 1,
            hour: clock / 3600,
            minute: clock / 60 % 60,
            second: clock % 60,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptimes() {
        let at = |seconds: u64| uptime(seconds * SECOND_NS + 999_999_999);
        assert_eq!(at(0), "0s");
        assert_eq!(at(59), "59s");
        assert_eq!(at(60), "1m0s");
        assert_eq!(at(3_600), "1h0m0s");
        assert_eq!(at(DAY_S + 7_384), "1d2h3m4s");
        assert_eq!(at(367 * DAY_S + 11_045), "1y2d3h4m5s");
    }

    #[test]
    fn durations() {
        for (ns, text) in [
            (0, "0s"),
            (999, "999ns"),
            (1_000, "1µs"),
            (1_500, "1.5µs"),
            (123_456, "123.456µs"),
            (2_000_000, "2ms"),
            (1_020_300, "1.0203ms"),
            (1_000_000_000, "1s"),
            (61_500_000_000, "1m1.5s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_723_000_000_001, "1h2m3.000000001s"),
            (90_000_000_000_000, "25h0m0s"),
        ] {
            assert_eq!(go_duration(ns), text);
        }
    }

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_799, "2000-02-29T23:59:59"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (1_735_689_599, "2024-12-31T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(rfc3339_nano(seconds * SECOND_NS), format!("{text}Z"));
        }
        assert_eq!(rfc3339_nano(120_000_000), "1970-01-01T00:00:00.12Z");
        assert_eq!(rfc3339_nano(1), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(http_date(784_111_777 * SECOND_NS), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
