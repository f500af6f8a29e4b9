//! Lists as files for other programs: comma-separated values, or one JSON object per line.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// How a list is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ListFormat {
    /// A page of it.
    #[default]
    Json,
    /// All of it, comma-separated, names of the columns first.
    Csv,
    /// All of it, one JSON object per line.
    Ndjson,
}

/// Something that is a line of a table.
pub(super) trait Row: Serialize {
    /// Names of its columns.
    const COLUMNS: &'static [&'static str];

    /// What stands in them.
    fn cells(&self) -> Vec<String>;
}

impl ListFormat {
    /// What stands before the first line.
    pub(super) fn head<T: Row>(self) -> String {
        if self == Self::Csv { csv_line(T::COLUMNS.iter().map(|name| (*name).to_owned())) } else { String::new() }
    }

    /// One line.
    pub(super) fn line(self, row: &impl Row) -> String {
        match self {
            Self::Csv => csv_line(row.cells()),
            Self::Json | Self::Ndjson => {
                let mut line = serde_json::to_string(row).expect("answers are plain structures");
                line.push('\n');
                line
            }
        }
    }

    /// The answer that has `body`, to be saved as a file called so, but for its ending.
    pub(super) fn answer(self, name: &str, body: Body) -> Response {
        let (media_type, ending) = match self {
            Self::Csv => ("text/csv; charset=utf-8", "csv"),
            Self::Json | Self::Ndjson => ("application/x-ndjson", "ndjson"),
        };
        let disposition = format!("attachment; filename=\"{name}.{ending}\"");
        let headers = [(header::CONTENT_TYPE, media_type.to_owned()), (header::CONTENT_DISPOSITION, disposition)];
        (StatusCode::OK, headers, body).into_response()
    }
}

/// A line as RFC 4180 has it. What a spreadsheet would take for a formula is a text: names come from anybody.
fn csv_line(cells: impl IntoIterator<Item = String>) -> String {
    let quoted = cells.into_iter().map(|cell| {
        let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let cell = if is_formula { format!("'{cell}") } else { cell };
        let is_plain = !cell.contains(['"', ',', '\n', '\r']);
        if is_plain { cell } else { format!("\"{}\"", cell.replace('"', "\"\"")) }
    });
    format!("{}\r\n", quoted.collect::<Vec<_>>().join(","))
}

/// Day and second in UTC, of milliseconds since 1970.
pub(super) fn moment(ms: u64) -> String {
    let at = i64::try_from(ms / 1000).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    at.map_or_else(String::new, |at| {
        let (hour, minute, second) = at.to_hms();
        format!("{}T{hour:02}:{minute:02}:{second:02}Z", at.date())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Named(&'static str);

    impl Row for Named {
        const COLUMNS: &'static [&'static str] = &["name", "at"];

        fn cells(&self) -> Vec<String> {
            vec![self.0.to_owned(), moment(1_700_000_000_123)]
        }
    }

    #[track_caller]
    fn check(name: &'static str, expected: &str) {
        assert_eq!(ListFormat::Csv.line(&Named(name)), format!("{expected},2023-11-14T22:13:20Z\r\n"));
    }

    #[test]
    fn cells_are_quoted_and_none_is_a_formula() {
        check("plain", "plain");
        check("a,b", "\"a,b\"");
        check("say \"it\"", "\"say \"\"it\"\"\"");
        check("two\nlines", "\"two\nlines\"");
        check("=1+1", "'=1+1");
        check("@cmd,\"x\"", "\"'@cmd,\"\"x\"\"\"");
        check("-5", "'-5");
        assert_eq!(ListFormat::Csv.head::<Named>(), "name,at\r\n");
        assert_eq!(ListFormat::Ndjson.head::<Named>(), "");
        assert_eq!(ListFormat::Ndjson.line(&Named("a\nb")), "\"a\\nb\"\n");
    }
}
