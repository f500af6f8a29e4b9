//! [`Shown`]: bytes of a path or name, safe to print.

use std::fmt;

/// Displays bytes that anyone may have chosen so that they can neither steer a terminal nor break a log line.
///
/// Control characters (C0, DEL, C1), line separators, characters that change the writing direction, backslashes and
/// bytes that are not UTF-8 come out as `\xNN` or `\u{NNNN}`; everything else as it is. Different bytes never look the
/// same.
#[derive(Clone, Copy)]
pub struct Shown<'b>(&'b [u8]);

impl<'b> Shown<'b> {
    /// Wraps `bytes` for display.
    #[must_use]
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for piece in self.0.utf8_chunks() {
            for character in piece.valid().chars() {
                match character {
                    '\0'..='\x1f' | '\x7f' => write!(f, "\\x{:02x}", u32::from(character))?,
                    '\\' => f.write_str("\\\\")?,
                    '\u{80}'..='\u{9f}' => write!(f, "\\u{{{:x}}}", u32::from(character))?,
                    _ if steers_text(character) => write!(f, "\\u{{{:x}}}", u32::from(character))?,
                    _ => f.write_char(character)?,
                }
            }
            for byte in piece.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Line and paragraph separators, and everything that overrides the direction of writing.
fn steers_text(character: char) -> bool {
    matches!(character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::Shown;

    #[test]
    fn plain_text_stays() {
        check("photos/Übersicht 2019.tar", "photos/Übersicht 2019.tar");
    }

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        check("a\x1b[2Jb\nc\u{9b}", "a\\x1b[2Jb\\x0ac\\u{9b}");
        check("invoice\u{202e}fdp.exe", "invoice\\u{202e}fdp.exe");
    }

    #[test]
    fn escapes_cannot_be_forged() {
        check("\\x1b", "\\\\x1b");
    }

    #[test]
    fn bytes_that_are_no_text_are_escaped() {
        assert_eq!(Shown::new(b"a\xff\xfe.txt").to_string(), "a\\xff\\xfe.txt");
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(Shown::new(text.as_bytes()).to_string(), expected);
    }
}
