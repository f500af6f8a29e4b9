//! [`Output`]: data for people or for machines, on standard output.

use std::io::{self, BufWriter, Stdout, Write};

use client::ClientError;
use serde_json::Value;

/// Standard output, for words or for one JSON object per line.
pub(crate) struct Output {
    out: BufWriter<Stdout>,
    pub(crate) is_json: bool,
    pub(crate) is_quiet: bool,
}

impl Output {
    pub(crate) fn new(is_json: bool, is_quiet: bool) -> Self {
        Self { out: BufWriter::new(io::stdout()), is_json, is_quiet }
    }

    /// One JSON object, if JSON is wanted.
    pub(crate) fn event(&mut self, event: &Value) -> Result<(), ClientError> {
        if self.is_json { self.put(&event.to_string()) } else { Ok(()) }
    }

    /// A line of data, if words are wanted.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), ClientError> {
        if self.is_json { Ok(()) } else { self.put(line) }
    }

    /// A line of summary, if words are wanted and not too many.
    pub(crate) fn summary(&mut self, line: &str) -> Result<(), ClientError> {
        if self.is_quiet { Ok(()) } else { self.line(line) }
    }

    pub(crate) fn flush(&mut self) -> Result<(), ClientError> {
        self.out.flush().map_err(failed)
    }

    fn put(&mut self, line: &str) -> Result<(), ClientError> {
        self.out.write_all(line.as_bytes()).and_then(|()| self.out.write_all(b"\n")).map_err(failed)
    }
}

fn failed(source: io::Error) -> ClientError {
    ClientError::Io { verb: "write to", path: "standard output".into(), source }
}
