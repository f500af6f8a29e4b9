//! [`Output`]: what a program said, and how it ended.

use std::fmt;

use serde_json::Value;

/// What a program said, and how it ended.
pub(crate) struct Output {
    /// The command line, for messages.
    pub(crate) command: String,
    /// The exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Output {
    /// The output, which must come with this exit code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "the exit code is wrong\n{self}");
        self
    }

    /// Every line of standard output, which must be JSON objects and nothing else.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.stdout).expect("JSON is UTF-8");
        assert!(text.is_empty() || text.ends_with('\n'), "the last line has no end\n{self}");
        let parse = |line: &str| match serde_json::from_str(line) {
            Ok(value @ Value::Object(_)) => value,
            _ => panic!("not a JSON object: {line:?}\n{self}"),
        };
        text.lines().map(parse).collect()
    }

    /// The last event, which must be of this name.
    #[track_caller]
    pub(crate) fn last(&self, event: &str) -> Value {
        let last = self.events().pop().unwrap_or_default();
        assert_eq!(last["event"], event, "the last event is another one\n{self}");
        last
    }

    /// All events of this name.
    #[track_caller]
    pub(crate) fn all(&self, event: &str) -> Vec<Value> {
        self.events().into_iter().filter(|value| value["event"] == event).collect()
    }

    /// Standard error must say all of this.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "standard error does not say {part:?}\n{self}");
        }
        self
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.stdout[..self.stdout.len().min(4000)];
        writeln!(f, "$ {}\nexit code {:?}", self.command, self.code)?;
        write!(f, "--- stdout\n{}\n--- stderr\n{}", String::from_utf8_lossy(shown), self.stderr)
    }
}

/// A number of an event.
#[track_caller]
pub(crate) fn number(event: &Value, field: &str) -> u64 {
    event[field].as_u64().unwrap_or_else(|| panic!("{field} is no number in {event}"))
}
