//! Where messages go: standard error, as text or JSON. Control characters never get there: a name that came from outside
//! cannot rewrite other lines of a terminal. Where standard error is systemd's journal, text tells it how important each line
//! is, and leaves the time to it.

use std::env;
use std::io::{self, Write};

use rustix::fs::fstat;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::fmt::MakeWriter;

use crate::options::{LogFormat, LogLevel};

/// Device and inode of the stream that leads to the journal, as systemd tells its services (systemd.exec(5)).
const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// Starts logging for the whole process; when somebody did so before, theirs stays.
pub(crate) fn start(level: LogLevel, format: LogFormat) {
    let is_journal = fstat(io::stderr())
        .is_ok_and(|stderr| is_stream(env::var(JOURNAL_STREAM).ok().as_deref(), stderr.st_dev, stderr.st_ino));
    // Only fails when logging was started before.
    let _ = tracing::subscriber::set_global_default(subscriber(level, format, is_journal, io::stderr));
}

/// Whether `said` names the stream with this device and inode.
fn is_stream(said: Option<&str>, device: u64, inode: u64) -> bool {
    said == Some(format!("{device}:{inode}").as_str())
}

/// Writes messages to what `to` opens.
fn subscriber<W: Write + 'static>(
    level: LogLevel,
    format: LogFormat,
    is_journal: bool,
    to: impl Fn() -> W + Send + Sync + 'static,
) -> Box<dyn Subscriber + Send + Sync> {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let has_priorities = is_journal && format == LogFormat::Text;
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .with_writer(Lines { to, has_priorities });
    match format {
        LogFormat::Text if has_priorities => Box::new(builder.without_time().finish()),
        LogFormat::Text => Box::new(builder.finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    }
}

/// Opens what each message is written to.
struct Lines<F> {
    to: F,
    /// Whether each line says how important it is, as sd-daemon(3) has it.
    has_priorities: bool,
}

impl<W: Write, F: Fn() -> W> MakeWriter<'_> for Lines<F> {
    type Writer = Escaped<W>;

    fn make_writer(&self) -> Escaped<W> {
        Escaped { to: (self.to)(), prefix: "" }
    }

    fn make_writer_for(&self, message: &Metadata<'_>) -> Escaped<W> {
        let prefix = if self.has_priorities { priority(*message.level()) } else { "" };
        Escaped { to: (self.to)(), prefix }
    }
}

/// How important a message is, by the numbers of syslog(3).
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// Passes whole lines on, each with a prefix and with control characters other than its end escaped.
struct Escaped<W> {
    to: W,
    prefix: &'static str,
}

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let (text, end) = match line.strip_suffix(b"\n") {
            Some(text) => (text, &b"\n"[..]),
            None => (line, &b""[..]),
        };
        let mut escaped = Vec::with_capacity(self.prefix.len() + line.len());
        escaped.extend_from_slice(self.prefix.as_bytes());
        for character in String::from_utf8_lossy(text).chars() {
            if is_harmless(character) {
                escaped.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                escaped.extend(character.escape_unicode().flat_map(|part| u8::try_from(part).ok()));
            }
        }
        escaped.extend_from_slice(end);
        self.to.write_all(&escaped)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Not a control character, and none that turns the direction of text around.
fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn control_characters_do_not_get_through() {
        let mut out = Vec::new();
        let line = "a\u{1b}[2Jb\nc\u{202e}d\u{9b}é\n";
        assert_eq!(Escaped { to: &mut out, prefix: "" }.write(line.as_bytes()).unwrap(), line.len());
        assert_eq!(String::from_utf8(out).unwrap(), "a\\u{1b}[2Jb\\u{a}c\\u{202e}d\\u{9b}é\n");
    }

    /// A place that keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of a message of each level.
    fn written(format: LogFormat, is_journal: bool) -> String {
        let kept = Kept::default();
        let to = kept.clone();
        let subscriber = subscriber(LogLevel::Debug, format, is_journal, move || to.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(pack = 7, "bro\nken");
            tracing::warn!("odd");
            tracing::info!("so");
            tracing::debug!("fine");
        });
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_journal_is_told_how_important_lines_are_and_no_time() {
        let said = "<3>ERROR bro\\u{a}ken pack=7\n<4> WARN odd\n<6> INFO so\n<7>DEBUG fine\n";
        assert_eq!(written(LogFormat::Text, true), said);
        let elsewhere = written(LogFormat::Text, false);
        assert!(elsewhere.lines().all(|line| line.starts_with("20") && line.contains('Z')), "{elsewhere}");
        let json = written(LogFormat::Json, true);
        assert!(json.lines().all(|line| line.starts_with('{')), "{json}");
    }

    #[test]
    fn the_journal_is_known_by_its_stream() {
        assert!(is_stream(Some("8:1234"), 8, 1234));
        assert!(!is_stream(Some("8:1234"), 8, 12345), "somebody led standard error elsewhere");
        assert!(!is_stream(Some(""), 0, 0));
        assert!(!is_stream(None, 8, 1234));
    }
}
