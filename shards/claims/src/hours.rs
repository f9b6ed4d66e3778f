//! Hours of the day in which a user may be connected.

use serde::Deserialize;

const DAY_S: u32 = 24 * 60 * 60;

/// Ranges of the day, in a time zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Hours {
    /// None is any time.
    #[serde(rename = "times")]
    pub ranges: Vec<Range>,
    /// An IANA time zone's name; none is the server's own.
    #[serde(rename = "times_location")]
    pub zone: String,
}

/// From `start` to `end`, `15:04:05` both; past midnight if `end` is the earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Range {
    start: String,
    end: String,
}

/// A moment in some zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Seconds after its midnight.
    pub of_day_s: u32,
    /// When its clocks are next put forward or back, if that is soon.
    pub shift: Option<Shift>,
}

/// Clocks are put forward, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// In so many seconds.
    pub in_s: u32,
    /// By so many seconds; below 0 is back.
    pub by_s: i32,
}

impl LocalTime {
    /// This time of day where clocks stay as they are.
    pub fn of_day(of_day_s: u32) -> LocalTime {
        LocalTime { of_day_s, shift: None }
    }

    /// How long it takes until clocks show a time that is so many seconds off.
    fn until(self, by_clock_s: u32) -> u32 {
        match self.shift {
            Some(shift) if shift.in_s < by_clock_s => {
                shift.in_s.max(by_clock_s.saturating_add_signed(shift.by_s.saturating_neg()))
            }
            _ => by_clock_s,
        }
    }
}

impl Hours {
    pub(crate) fn check(&self) -> Result<(), String> {
        for range in &self.ranges {
            for (which, time) in [("start", &range.start), ("end", &range.end)] {
                if time_of_day(time).is_none() {
                    return Err(format!("{which} in time range is invalid {time:?}"));
                }
            }
        }
        Ok(())
    }

    /// How long this moment is still within the hours, seconds; `None`: it is not within them.
    /// No ranges at all: `Some(None)`, for ever.
    pub fn open_for(&self, now: LocalTime) -> Option<Option<u32>> {
        if self.ranges.is_empty() {
            return Some(None);
        }
        let by_clock_s = self.ranges.iter().filter_map(|range| range.open_for(now.of_day_s)).max();
        by_clock_s.map(|by_clock_s| Some(now.until(by_clock_s)))
    }
}

impl Range {
    fn open_for(&self, now: u32) -> Option<u32> {
        let (start, end) = (time_of_day(&self.start)?, time_of_day(&self.end)?);
        if start < now && end > now {
            return Some(end - now);
        }
        if start <= end {
            return None;
        }
        match (end > now, start < now) {
            (true, _) => Some(end - now),
            (false, true) => Some(DAY_S - now + end),
            (false, false) => None,
        }
    }
}

/// `15:04:05`, seconds after midnight. As Go reads it: the hour may have one digit, and parts of a
/// second may follow, which are of no matter.
fn time_of_day(text: &str) -> Option<u32> {
    let mut parts = text.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |part: &str| part.bytes().all(|digit| digit.is_ascii_digit());
    let second = match second.split_once(['.', ',']) {
        Some((second, rest)) if !rest.is_empty() && digits(rest) => second,
        _ => second,
    };
    let sized = matches!(hour.len(), 1 | 2) && minute.len() == 2 && second.len() == 2;
    if parts.next().is_some() || !sized || ![hour, minute, second].into_iter().all(digits) {
        return None;
    }
    let number = |part: &str| part.parse::<u32>().ok();
    let (hour, minute, second) = (number(hour)?, number(minute)?, number(second)?);
    (hour < 24 && minute < 60 && second < 60).then_some(hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(ranges: &[(&str, &str)]) -> Hours {
        let ranges = ranges
            .iter()
            .map(|(a, b)| Range { start: a.to_string(), end: b.to_string() })
            .collect();
        Hours { ranges, zone: String::new() }
    }

    fn at(text: &str) -> LocalTime {
        LocalTime::of_day(time_of_day(text).expect("a time"))
    }

    #[test]
    fn within_and_without() {
        assert_eq!(hours(&[]).open_for(at("12:00:00")), Some(None));
        let day = hours(&[("11:00:00", "22:00:00")]);
        assert_eq!(day.open_for(at("13:00:00")), Some(Some(9 * 3600)));
        assert_eq!(day.open_for(at("11:00:00")), None);
        assert_eq!(day.open_for(at("22:00:00")), None);
        let night = hours(&[("22:00:00", "06:00:00")]);
        assert_eq!(night.open_for(at("05:00:00")), Some(Some(3600)));
        assert_eq!(night.open_for(at("23:30:00")), Some(Some(6 * 3600 + 1800)));
        assert_eq!(night.open_for(at("12:00:00")), None);
        let two = hours(&[("08:00:00", "10:00:00"), ("09:00:00", "12:00:00")]);
        assert_eq!(two.open_for(at("09:30:00")), Some(Some(9000)), "the later end counts");
    }

    #[test]
    fn clocks_that_are_put_forward_and_back() {
        let night = hours(&[("22:00:00", "06:00:00")]);
        let shifted = |by_s: i32| {
            let shift = Some(Shift { in_s: 3600, by_s });
            night.open_for(LocalTime { shift, ..at("01:00:00") })
        };
        assert_eq!(shifted(0), Some(Some(5 * 3600)));
        assert_eq!(shifted(3600), Some(Some(4 * 3600)));
        assert_eq!(shifted(-3600), Some(Some(6 * 3600)));
        assert_eq!(shifted(6 * 3600), Some(Some(3600)), "they jump over its end");
        let late = Some(Shift { in_s: 6 * 3600, by_s: 3600 });
        let late = night.open_for(LocalTime { shift: late, ..at("01:00:00") });
        assert_eq!(late, Some(Some(5 * 3600)), "after its end");
    }

    #[test]
    fn what_is_no_time() {
        for text in ["", "24:00:00", "1:60:00", "01:00", "01:00:00:00", "+1:00:00", "aa:bb:cc"] {
            assert_eq!(time_of_day(text), None, "{text}");
        }
        for text in ["01:00:00.", "01:00:00.x", "01:00:00.1.2", "01:00.5:00"] {
            assert_eq!(time_of_day(text), None, "{text}");
        }
        assert_eq!(time_of_day("7:00:01"), Some(25201));
        assert_eq!(time_of_day("07:00:01.999,"), None);
        assert_eq!(time_of_day("07:00:01,999"), Some(25201));
    }
}
