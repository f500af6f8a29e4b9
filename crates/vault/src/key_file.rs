//! [`KeyFile`]: the keys of vaults as a text that can be kept apart from the packs, printed, and read without a server.
//!
//! ```text
//! delta-backup key file 1
//! vault 00112233445566778899aabbccddeeff managed admin default
//! key 64 hex digits
//! end 16 hex digits
//! ```
//! A vault has a `key` line (whoever reads it can open the vault), `slot` lines (somebody's secret is needed besides), or
//! both. Account and name are written with `%XX` for every byte that is not a letter, digit or one of `._-@`. The last line
//! has the first 8 bytes of the BLAKE3 hash of everything before it, so that a typing error is found.

use object::{VaultId, hex};
use zeroize::Zeroizing;

use crate::keys::VaultKey;
use crate::signing::Mode;
use crate::slot::{KeySlot, SlotError, Unlock};

const FIRST_LINE: &str = "delta-backup key file 1";
/// Longest slot that is read, in bytes; today's have 126.
const SLOT_LEN_MAX: usize = 1024;

/// The keys of some vaults.
#[derive(Debug, Default)]
pub struct KeyFile {
    /// One entry per vault, in the order of the file.
    pub vaults: Vec<KeyFileVault>,
}

/// A vault in a [`KeyFile`].
#[derive(Clone, Debug)]
pub struct KeyFileVault {
    /// Which.
    pub id: VaultId,
    /// Who holds its key.
    pub mode: Mode,
    /// Whose it is.
    pub account: String,
    /// What it is called there.
    pub name: String,
    /// Its key, wrapped.
    pub slots: Vec<KeySlot>,
    /// Its key as it is.
    pub key: Option<VaultKey>,
}

/// Why a text is not a key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the key file is wrong: {what}")]
pub struct KeyFileError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl KeyFile {
    /// The text. It holds secrets when any entry does.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!("{FIRST_LINE}\n"));
        for KeyFileVault { id, mode, account, name, slots, key } in &self.vaults {
            let mode = match mode {
                Mode::Managed => "managed",
                Mode::Sealed => "sealed",
            };
            text.push_str(&format!(
                "vault {} {mode} {} {}\n",
                hex::encode(id.as_bytes()),
                escaped(account),
                escaped(name)
            ));
            for slot in slots {
                text.push_str(&format!("slot {}\n", hex::encode(slot.as_bytes())));
            }
            if let Some(key) = key {
                let digits = Zeroizing::new(hex::encode(key.expose()));
                text.push_str("key ");
                text.push_str(&digits);
                text.push('\n');
            }
        }
        let check = check_of(&text);
        text.push_str(&format!("end {check}\n"));
        text
    }

    /// Reads a text.
    ///
    /// # Errors
    /// [`KeyFileError`] names the first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let mut file = Self::default();
        let mut read = 0;
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let wrong = |what| KeyFileError { line: index + 1, what };
            let words: Vec<&str> = line.trim_end().split(' ').collect();
            match (index, &words[..]) {
                (0, _) if line.trim_end() == FIRST_LINE => {}
                (0, _) => return Err(wrong("it does not begin like a key file of this version")),
                (_, ["end", check]) => {
                    if *check != check_of(&text[..read]) {
                        return Err(wrong("the check does not match: the file was changed or copied wrongly"));
                    }
                    return Ok(file);
                }
                (_, ["vault", id, mode, account, name]) => {
                    file.vaults.push(KeyFileVault {
                        id: VaultId::from_bytes(hex::decode(id).ok_or_else(|| wrong("that is no vault id"))?),
                        mode: match *mode {
                            "managed" => Mode::Managed,
                            "sealed" => Mode::Sealed,
                            _ => return Err(wrong("a vault is `managed` or `sealed`")),
                        },
                        account: unescaped(account).ok_or_else(|| wrong("that is no account"))?,
                        name: unescaped(name).ok_or_else(|| wrong("that is no name"))?,
                        slots: Vec::new(),
                        key: None,
                    });
                }
                (_, ["slot", digits]) => {
                    let vault = file.vaults.last_mut().ok_or_else(|| wrong("no vault comes before it"))?;
                    let bytes = bytes_of(digits).ok_or_else(|| wrong("that is no slot"))?;
                    vault.slots.push(KeySlot::from_bytes(bytes));
                }
                (_, ["key", digits]) => {
                    let vault = file.vaults.last_mut().ok_or_else(|| wrong("no vault comes before it"))?;
                    let bytes = Zeroizing::new(hex::decode(digits).ok_or_else(|| wrong("a key has 64 hex digits"))?);
                    vault.key = Some(VaultKey::from_bytes(*bytes));
                }
                _ => return Err(wrong("nothing begins like that")),
            }
            read += line.len();
        }
        Err(KeyFileError { line: text.lines().count() + 1, what: "the last line, `end`, is missing" })
    }
}

impl KeyFileVault {
    /// The vault's key: as it stands there, or from the first slot that opens.
    ///
    /// # Errors
    /// [`SlotError`] when there is no plain key and `unlock` opens no slot.
    pub fn open(&self, unlock: Option<Unlock<'_>>) -> Result<VaultKey, SlotError> {
        match (&self.key, unlock) {
            (Some(key), _) => Ok(key.clone()),
            (None, Some(unlock)) => KeySlot::open_any(&self.slots, self.id, unlock),
            (None, None) => Err(SlotError::OtherHolder),
        }
    }
}

fn check_of(text: &str) -> String {
    hex::encode(&blake3::hash(text.as_bytes()).as_bytes()[..8])
}

fn escaped(text: &str) -> String {
    if text.is_empty() {
        return "%".to_owned();
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
    let mut out = String::new();
    for byte in text.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn unescaped(text: &str) -> Option<String> {
    if text == "%" {
        return Some(String::new());
    }
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if digits.is_empty() || !digits.len().is_multiple_of(2) || digits.len() > 2 * SLOT_LEN_MAX {
        return None;
    }
    digits.chunks(2).map(|pair| hex::decode::<1>(std::str::from_utf8(pair).ok()?).map(|[byte]| byte)).collect()
}
