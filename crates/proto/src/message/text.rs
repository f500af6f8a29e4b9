//! [`Text`]: a short line for people, with the bounds of its length in its type.

use std::fmt;

use super::LimitError;

/// The program that speaks, with its version.
pub type SoftwareName = Text<0, 64>;
/// Name of the machine a device is enrolled on, as it calls itself.
pub type HostName = Text<0, 255>;
/// Name of a device, as its owner gave it.
pub type DeviceName = Text<0, 255>;
/// Name of an account.
pub type AccountName = Text<0, 255>;
/// Name of a chain: the snapshots of one job of one device.
pub type ChainName = Text<1, 128>;
/// What went wrong, in a sentence.
pub type FailureText = Text<0, 1024>;

/// UTF-8 text of `MIN` to `MAX` bytes, without control characters.
///
/// Such texts come from a peer and end up in logs and terminals, where control characters could rewrite other lines.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<const MIN: usize, const MAX: usize>(Box<str>);

/// Why a text is not a [`Text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// Too short or too long.
    #[error(transparent)]
    Len(#[from] LimitError),
    /// A character that moves the cursor, rings a bell, or worse.
    #[error("text holds the control character U+{:04X}", u32::from(*character))]
    Control {
        /// The first one found.
        character: char,
    },
}

impl<const MIN: usize, const MAX: usize> Text<MIN, MAX> {
    /// Takes a text that keeps to the bounds.
    ///
    /// # Errors
    /// [`TextError`] says which bound it breaks.
    pub fn new(text: &str) -> Result<Self, TextError> {
        LimitError::check("text length", text.len(), MIN, MAX)?;
        match text.chars().find(|character| character.is_control()) {
            Some(character) => Err(TextError::Control { character }),
            None => Ok(Self(text.into())),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> Text<0, MAX> {
    /// Makes any text fit: control characters become spaces, and what is too long is cut off.
    #[must_use]
    pub fn lossy(text: &str) -> Self {
        // Bounded: by `MAX`.
        let mut fitting = String::with_capacity(text.len().min(MAX));
        for character in text.chars() {
            if fitting.len() + character.len_utf8() > MAX {
                break;
            }
            fitting.push(if character.is_control() { ' ' } else { character });
        }
        Self(fitting.into())
    }
}

impl<const MIN: usize, const MAX: usize> fmt::Display for Text<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MIN: usize, const MAX: usize> fmt::Debug for Text<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
