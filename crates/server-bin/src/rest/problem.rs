//! Failed requests, as RFC 9457 has them.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use store::{ErrorKind, StoreError};
use utoipa::{IntoResponses, ToSchema};

use crate::drive::DriveError;
use crate::failure::{Failure, FailureKind};

const INTERNAL: &str = "the server failed; its log tells more";

/// What the answer to a failed request says.
#[derive(Debug, Serialize, ToSchema, IntoResponses)]
#[response(status = "default", description = "Refused", content_type = "application/problem+json")]
pub(super) struct ProblemBody {
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    status: u16,
    /// What is wrong, for people.
    detail: String,
}

/// The answer to a failed request.
#[derive(Debug)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: &'static str,
    status: StatusCode,
    detail: String,
    headers: HeaderMap,
    is_passing: bool,
}

impl Problem {
    /// The same, of what whoever asked does again by itself.
    pub(crate) fn passing(mut self) -> Self {
        self.0.is_passing = true;
        self
    }

    /// Whether whoever asked does it again by itself, or wanted it so: nobody else needs to be told.
    pub(crate) fn is_passing(&self) -> bool {
        self.0.is_passing || self.0.status == StatusCode::PRECONDITION_FAILED
    }

    /// The same with one more header.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What is wrong, for people.
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Parts { kind, status, detail, headers, .. } = *self.0;
        let title = status.canonical_reason().unwrap_or("Problem");
        let body = ProblemBody { kind, title, status: status.as_u16(), detail };
        let body = serde_json::to_string(&body).expect("a plain structure");
        (status, [(header::CONTENT_TYPE, "application/problem+json")], headers, body).into_response()
    }
}

/// A failed request.
pub(crate) fn new(status: StatusCode, detail: &str) -> Problem {
    of_kind("about:blank", status, detail)
}

/// A failed request that programs have to tell from others with its status.
pub(crate) fn of_kind(kind: &'static str, status: StatusCode, detail: &str) -> Problem {
    Problem(Box::new(Parts { kind, status, detail: detail.to_owned(), headers: HeaderMap::new(), is_passing: false }))
}

/// What tells pages and programs that only a vault's own devices have its key.
const SEALED: &str = "urn:delta-backup:sealed";

/// What only the vault's own devices can read; `detail` says what to do.
pub(crate) fn sealed(detail: &str) -> Problem {
    of_kind(SEALED, StatusCode::CONFLICT, detail)
}

/// One that may be tried again after a while.
pub(crate) fn retry(status: StatusCode, detail: &str, wait: Duration) -> Problem {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    new(status, detail).with(header::RETRY_AFTER, HeaderValue::from(seconds.max(1))).passing()
}

/// What a failure of the store means to who asked; what is the server's own trouble goes to the log.
pub(crate) fn of_store(doing: &'static str, error: &StoreError) -> Problem {
    match error.kind() {
        ErrorKind::NotFound => new(StatusCode::NOT_FOUND, &error.to_string()),
        ErrorKind::Conflict if matches!(error, StoreError::OtherRequest) => {
            new(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string())
        }
        ErrorKind::Conflict => new(StatusCode::CONFLICT, &error.to_string()),
        ErrorKind::Invalid => new(StatusCode::BAD_REQUEST, &error.to_string()),
        ErrorKind::Busy | ErrorKind::Missing => {
            tracing::warn!(doing, %error, "a request has to be made again");
            retry(StatusCode::SERVICE_UNAVAILABLE, "the server was busy with the same files", Duration::from_secs(1))
        }
        ErrorKind::Full if matches!(error, StoreError::Quota { .. }) => {
            new(StatusCode::INSUFFICIENT_STORAGE, &error.to_string())
        }
        ErrorKind::Full => {
            tracing::warn!(doing, %error, "the disk is full");
            new(StatusCode::INSUFFICIENT_STORAGE, "the server's disk is full")
        }
        ErrorKind::Damaged => {
            tracing::error!(doing, %error, "stored bytes are damaged");
            new(StatusCode::INTERNAL_SERVER_ERROR, "stored bytes are damaged; the server's log tells which")
        }
        _ => internal(doing, error),
    }
}

/// What a failure of the drive means to who asked.
pub(crate) fn of_drive(doing: &'static str, error: &DriveError) -> Problem {
    match error {
        DriveError::NotFound => new(StatusCode::NOT_FOUND, &error.to_string()),
        DriveError::Sealed => sealed("a sealed vault has no drive: back files up with backup-client"),
        DriveError::TooMany { .. } => new(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()),
        DriveError::PathTooLong => new(StatusCode::BAD_REQUEST, &error.to_string()),
        DriveError::Unreadable => internal(doing, error),
        DriveError::Store(error) => of_store(doing, error),
    }
}

/// What a failure of something that commands do, too, means to who asked.
pub(crate) fn of_failure(doing: &'static str, failure: &Failure) -> Problem {
    match failure.kind() {
        FailureKind::Usage => new(StatusCode::BAD_REQUEST, &failure.to_string()),
        _ => internal(doing, failure),
    }
}

/// Something of ours broke.
pub(crate) fn internal(doing: &'static str, error: &(dyn std::error::Error + 'static)) -> Problem {
    let mut causes = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push_str(": ");
        causes.push_str(&cause.to_string());
        next = cause.source();
    }
    tracing::error!(doing, error = causes, "request failed");
    new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL)
}
