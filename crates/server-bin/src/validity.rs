//! [`Validity`]: until when a certificate is good, read from its DER (RFC 5280, 4.1.2.4 and 4.1.2.5).
//!
//! Only ever applied to the server's own certificate; whatever is not understood is `None`.

use std::time::SystemTime;

use time::{Date, Month, OffsetDateTime, Time};

const SEQUENCE: u8 = 0x30;
const EXPLICIT_VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// What a certificate says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    /// The last moment at which it is good.
    pub(crate) not_after: SystemTime,
    /// Whether issuer and subject are the same.
    pub(crate) is_self_issued: bool,
}

impl Validity {
    /// Reads a certificate.
    pub(crate) fn of(certificate: &[u8]) -> Option<Self> {
        let mut outer = Elements(certificate);
        let mut certificate = Elements(outer.take(SEQUENCE)?);
        let mut fields = Elements(certificate.take(SEQUENCE)?);
        if fields.0.first() == Some(&EXPLICIT_VERSION) {
            fields.next()?;
        }
        let _serial_number = fields.next()?;
        let _signature_algorithm = fields.take(SEQUENCE)?;
        let issuer = fields.take(SEQUENCE)?;
        let mut validity = Elements(fields.take(SEQUENCE)?);
        let subject = fields.take(SEQUENCE)?;
        let _not_before = validity.next()?;
        let (tag, not_after) = validity.next()?;
        Some(Self { not_after: moment(tag, not_after)?.into(), is_self_issued: issuer == subject })
    }
}

/// DER elements one after the other.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// Tag and content of the next element.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                (digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// Content of the next element, which must have this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn moment(tag: u8, text: &[u8]) -> Option<OffsetDateTime> {
    let digits = text.strip_suffix(b"Z")?;
    let (year_len, century) = match tag {
        UTC_TIME => (2, None),
        GENERALIZED_TIME => (4, Some(0)),
        _ => return None,
    };
    let (year, rest) = digits.split_at_checked(year_len)?;
    let year = i32::try_from(number(year)?).ok()?;
    let century = century.unwrap_or(if year < 50 { 2000 } else { 1900 });
    let (parts, []) = rest.as_chunks::<2>() else { return None };
    let [month, day, hour, minute, second] = parts else { return None };
    let two = |digits: &[u8; 2]| number(digits).and_then(|value| u8::try_from(value).ok());
    let date = Date::from_calendar_date(century + year, Month::try_from(two(month)?).ok()?, two(day)?).ok()?;
    let time = Time::from_hms(two(hour)?, two(minute)?, two(second)?).ok()?;
    Some(OffsetDateTime::new_utc(date, time))
}

fn number(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok()?;
    if text.bytes().all(|digit| digit.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_time_are_read() {
        let seconds = |tag, text: &[u8]| moment(tag, text).map(OffsetDateTime::unix_timestamp);
        assert_eq!(seconds(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(seconds(UTC_TIME, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(seconds(GENERALIZED_TIME, b"20500101000000Z"), Some(2_524_608_000));
        for wrong in [&b"700101000000"[..], b"70010100000Z", b"701301000000Z", b"7001010000000Z", b"+00101000000Z"] {
            assert_eq!(seconds(UTC_TIME, wrong), None);
        }
    }

    #[test]
    fn what_is_no_certificate_says_nothing() {
        for wrong in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x02\x30\x00", b"\x31\x00"] {
            assert_eq!(Validity::of(wrong), None);
        }
    }
}
