//! Numbers, times and names as people read them.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use host_fs::Shown;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// `1.4 GiB`: three digits, binary units.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `78,600`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 file`, `2 files`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `0.8 s`, `2 min 5 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Local time, to the second.
pub(crate) fn local_time(milliseconds: u64) -> String {
    let timestamp = i64::try_from(milliseconds).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    match timestamp {
        Some(timestamp) => timestamp.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => "?".to_owned(),
    }
}

/// RFC 3339, UTC, for machines.
pub(crate) fn utc_time(milliseconds: u64) -> String {
    let timestamp = i64::try_from(milliseconds).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(String::new, |timestamp| timestamp.to_string())
}

/// RFC 3339, UTC, of seconds and nanoseconds since 1970; `None` when no calendar has it.
pub(crate) fn utc_instant(secs: i64, nanos: u32) -> Option<String> {
    let nanos = i32::try_from(nanos).ok()?;
    Some(Timestamp::new(secs, nanos).ok()?.to_string())
}

/// A path that cannot steer a terminal.
pub(crate) fn path(path: &Path) -> String {
    Shown::new(path.as_os_str().as_bytes()).to_string()
}

/// A name or path in JSON: as it is when it is UTF-8, else escaped.
pub(crate) fn json_name(name: &[u8]) -> Value {
    match std::str::from_utf8(name) {
        Ok(name) => json!(name),
        Err(_) => json!(Shown::new(name).to_string()),
    }
}

/// Text from elsewhere that cannot steer a terminal.
pub(crate) fn escape(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => ' ',
            character if character.is_control() => '\u{fffd}',
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => '\u{fffd}',
            character => character,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10_240, "10.0 KiB"),
            (1_048_575, "1.00 MiB"),
            (1_500_000_000, "1.40 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (count, expected) in cases {
            assert_eq!(bytes(count), expected);
        }
    }

    #[test]
    fn counts_have_separators() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(78_600), "78,600");
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(counted(1, "file", "files"), "1 file");
    }

    #[test]
    fn durations_have_two_parts_at_most() {
        assert_eq!(duration(Duration::from_millis(840)), "0.8 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 5 s");
        assert_eq!(duration(Duration::from_secs(7300)), "2 h 1 min");
    }

    #[test]
    fn times_beyond_calendars_do_not_panic() {
        assert_eq!(local_time(u64::MAX), "?");
        assert_eq!(utc_time(u64::MAX), "");
        assert_eq!(utc_instant(i64::MIN, 0), None);
        assert_eq!(utc_time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
    }

    #[test]
    fn text_cannot_steer_a_terminal() {
        assert_eq!(escape("a\x1b[2Jb\nc\u{202e}d"), "a\u{fffd}[2Jb c\u{fffd}d");
    }
}
