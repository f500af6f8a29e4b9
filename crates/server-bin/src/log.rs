//! Where messages go: standard error, as text or JSON. Control characters never get there: a name that came from outside
//! cannot rewrite other lines of a terminal.

use std::io::{self, Write};

use tracing::level_filters::LevelFilter;

use crate::options::{LogFormat, LogLevel};

/// Starts logging for the whole process; when somebody did so before, theirs stays.
pub(crate) fn start(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .with_writer(|| Escaped(io::stderr()));
    // Only fails when logging was started before.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Passes whole lines on, with control characters other than their ends escaped.
struct Escaped<W>(W);

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let (text, end) = match line.strip_suffix(b"\n") {
            Some(text) => (text, &b"\n"[..]),
            None => (line, &b""[..]),
        };
        let mut escaped = Vec::with_capacity(line.len());
        for character in String::from_utf8_lossy(text).chars() {
            if is_harmless(character) {
                escaped.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                escaped.extend(character.escape_unicode().flat_map(|part| u8::try_from(part).ok()));
            }
        }
        escaped.extend_from_slice(end);
        self.0.write_all(&escaped)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Not a control character, and none that turns the direction of text around.
fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_get_through() {
        let mut out = Vec::new();
        let line = "a\u{1b}[2Jb\nc\u{202e}d\u{9b}é\n";
        assert_eq!(Escaped(&mut out).write(line.as_bytes()).unwrap(), line.len());
        assert_eq!(String::from_utf8(out).unwrap(), "a\\u{1b}[2Jb\\u{a}c\\u{202e}d\\u{9b}é\n");
    }
}
