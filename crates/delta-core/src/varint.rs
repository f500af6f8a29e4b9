//! Unsigned LEB128 numbers in their one shortest form, and the zigzag map for signed ones.
//!
//! [`take`] refuses what [`put`] would not have written, so every number has one encoding.

/// Appends `value`, seven bits a byte, low bits first: 1 byte below 128, at most 10.
pub fn put(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Splits the number at the front off `bytes`; `None` when it is cut short, longer than needed, or past 64 bits.
#[inline]
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    let mut shift = 0;
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        if shift == 63 && low > 1 {
            return None;
        }
        value |= low << shift;
        if byte < 0x80 {
            return (byte != 0 || shift == 0).then_some(value);
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
}

/// Maps small numbers of either sign to small numbers: 0, -1, 1, -2 become 0, 1, 2, 3.
#[expect(clippy::cast_sign_loss, reason = "the bit pattern is the point")]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[expect(clippy::cast_possible_wrap, reason = "the bit pattern is the point")]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_returns() {
        for bits in 0..64 {
            for value in [1u64 << bits, (1 << bits) - 1, u64::MAX >> bits] {
                let mut bytes = Vec::new();
                put(value, &mut bytes);
                let mut rest = &bytes[..];
                assert_eq!(take(&mut rest), Some(value));
                assert!(rest.is_empty());
                assert_eq!(zigzag(unzigzag(value)), value);
            }
        }
    }

    #[test]
    fn refuses_other_forms() {
        for mut bytes in [&[][..], &[0x80], &[0x80, 0], &[0xff, 0x80, 0], &[0xff; 10], &[0xff; 11]] {
            assert_eq!(take(&mut bytes), None);
        }
        let mut past_64_bits = &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2][..];
        assert_eq!(take(&mut past_64_bits), None);
    }
}
