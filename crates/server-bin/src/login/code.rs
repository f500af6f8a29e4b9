//! Codes of a second factor: six digits that change every half minute, made of a secret that an authenticator app holds,
//! and recovery codes for when it is lost. Source: RFC 6238, with SHA-1 as all such apps have it.

use aws_lc_rs::hmac;
use object::hex;
use proto::Secret;

use crate::failure::Failure;
use crate::keys::{ServerKeys, is_same_hash, random};

/// Seconds in a step of time.
const STEP_S: u64 = 30;
const DIGITS: usize = 6;
/// Steps that the clocks may be apart.
const STEPS_APART: u64 = 1;
/// Recovery codes of an account.
pub(crate) const RECOVERY_CODE_COUNT: usize = 10;
const RECOVERY_CODE_LEN: usize = 8;
const ISSUER: &str = "Delta%20Backup";

/// The secret of an account's codes.
pub(crate) struct CodeSecret([u8; 20]);

/// What somebody typed as a code.
pub(crate) enum Code {
    /// Of the app.
    Digits(u32),
    /// Of the list that was shown once.
    Recovery(Secret<RECOVERY_CODE_LEN>),
}

impl Code {
    /// Reads it, with spaces and dashes as people type them; `None` when it is neither.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text: String = text.chars().filter(|sign| !matches!(sign, ' ' | '-')).take(64).collect();
        if text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().map(Self::Digits);
        }
        hex::decode(&text.to_ascii_lowercase()).map(Secret::new).map(Self::Recovery)
    }
}

impl CodeSecret {
    /// The secret that belongs to a salt: whoever has the catalog alone can make no code.
    pub(crate) fn new(keys: &ServerKeys, salt: &[u8; 16]) -> Self {
        let hash = keys.second_factor_secret(salt);
        Self(*hash.first_chunk().expect("the hash is longer"))
    }

    /// As it is typed into an app.
    pub(crate) fn text(&self) -> String {
        base32(&self.0)
    }

    /// As an app reads it from a QR code. An account's name needs no escapes but for `@`.
    pub(crate) fn uri(&self, account: &str) -> String {
        let account = account.replace('@', "%40");
        format!("otpauth://totp/{ISSUER}:{account}?secret={}&issuer={ISSUER}", self.text())
    }

    /// The step of time whose code this is, if it is the code of one not far from now.
    pub(crate) fn step_of(&self, code: u32, now_ms: u64) -> Option<u64> {
        let now = now_ms / 1000 / STEP_S;
        let steps = now.saturating_sub(STEPS_APART)..=now + STEPS_APART;
        // All are compared: how long it takes tells nothing.
        steps.fold(None, |found, step| {
            let is_it = is_same_hash(&self.code(step).to_le_bytes(), &code.to_le_bytes());
            if is_it { Some(step) } else { found }
        })
    }

    fn code(&self, step: u64) -> u32 {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let tag = tag.as_ref();
        let offset = usize::from(tag[tag.len() - 1] & 0x0f);
        let word = tag[offset..].first_chunk().expect("SHA-1 has 20 bytes, and 15 + 4 is less");
        (u32::from_be_bytes(*word) & 0x7fff_ffff) % 1_000_000
    }
}

/// New recovery codes: as they are shown once, and as the catalog has them.
///
/// # Errors
/// [`Failure`] when the system has no randomness.
pub(crate) fn recovery_codes(keys: &ServerKeys) -> Result<(Vec<String>, Vec<[u8; 32]>), Failure> {
    let mut shown = Vec::with_capacity(RECOVERY_CODE_COUNT);
    let mut hashes = Vec::with_capacity(RECOVERY_CODE_COUNT);
    for _ in 0..RECOVERY_CODE_COUNT {
        let code: [u8; RECOVERY_CODE_LEN] = random()?;
        let text = hex::encode(&code);
        shown.push(format!("{}-{}-{}-{}", &text[..4], &text[4..8], &text[8..12], &text[12..]));
        hashes.push(keys.recovery_code_hash(&code));
    }
    Ok((shown, hashes))
}

/// RFC 4648, without padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(char::from(ALPHABET[(bits >> count & 31) as usize]));
        }
        bits &= (1 << count) - 1;
    }
    if count > 0 {
        text.push(char::from(ALPHABET[(bits << (5 - count) & 31) as usize]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, cut to six digits.
    #[test]
    fn codes_are_those_of_the_standard() {
        let secret = CodeSecret(*b"12345678901234567890");
        for (seconds, code) in [
            (59, 287_082),
            (1_111_111_109, 81_804),
            (1_111_111_111, 50_471),
            (1_234_567_890, 5_924),
            (2_000_000_000, 279_037),
            (20_000_000_000, 353_130),
        ] {
            assert_eq!(secret.code(seconds / STEP_S), code, "{seconds}");
            assert_eq!(secret.step_of(code, seconds * 1000), Some(seconds / STEP_S));
            assert_eq!(secret.step_of(code, (seconds + STEP_S) * 1000), Some(seconds / STEP_S), "a slow clock");
            assert_eq!(secret.step_of(code, (seconds + 3 * STEP_S) * 1000), None);
        }
    }

    /// RFC 4648, chapter 10.
    #[test]
    fn secrets_are_typed_as_apps_want_them() {
        for (bytes, text) in
            [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ"), ("foobar", "MZXW6YTBOI")]
        {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
        let uri = CodeSecret(*b"12345678901234567890").uri("ada@example");
        assert_eq!(
            uri,
            "otpauth://totp/Delta%20Backup:ada%40example?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Delta%20Backup"
        );
    }

    #[test]
    fn codes_are_read_as_people_type_them() {
        assert!(matches!(Code::parse("012 345"), Some(Code::Digits(12_345))));
        let recovery = Secret::new([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
        assert!(matches!(Code::parse("0123-4567-89AB-cdef"), Some(Code::Recovery(read)) if read == recovery));
        for wrong in ["", "12345", "1234567", "0123-4567-89ab-cde", "0123456789abcdefg", "१२३४५६", &"0".repeat(5000)]
        {
            assert!(Code::parse(wrong).is_none(), "{wrong}");
        }
    }
}
