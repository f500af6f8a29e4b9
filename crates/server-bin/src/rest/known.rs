//! `/api/v1/known` and `/api/v1/place`: whether files are here already, before a byte of them is sent, and naming what is.
//!
//! What is looked for is in the account's own drive, its older versions and its trash included: nobody learns what others
//! have.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use proto::DrivePath;
use serde::{Deserialize, Serialize};
use store::Purpose;
use utoipa::ToSchema;

use crate::clock;
use crate::drive::{DriveEditor, DriveError, Uploaded};
use crate::ingest::Brought;
use crate::live::Incoming;
use crate::login::Login;
use crate::rest::files::PutAnswer;
use crate::rest::parse::{ChangeKey, Conditions, body, path};
use crate::rest::problem::{self, Problem, ProblemBody};
use crate::rest::tus::LEN_MAX;
use crate::rest::upload::{OnConflict, Request, check_len, end, name, of_store};
use crate::rest::{Drive, json, with_drive};
use crate::service::Service;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KnownBody {
    /// As many as fit into 64 KiB.
    files: Vec<AskedFile>,
}

/// A file that may be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AskedFile {
    /// Where it would go.
    path: String,
    #[schema(maximum = 9007199254740991u64)]
    size: u64,
    /// In hexadecimal; may be left out at first, and said for files of which the answer is `same-size`.
    sha256: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct KnownAnswer {
    /// In the order of the files.
    states: Vec<KnownState>,
}

/// What is at a file's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum KnownState {
    /// Nothing, or a folder.
    Absent,
    /// A file with another content, as far as anybody knows.
    Different,
    /// A file of this size; its SHA-256 would tell whether it is the same.
    SameSize,
    /// A file with these very bytes: nothing has to be sent.
    Identical,
    /// Not this file, but the drive has one of this size: its SHA-256 would tell whether it is the same.
    SameSizeElsewhere,
    /// Not this file, but the drive has these very bytes: `/api/v1/place` names them.
    Elsewhere,
}

/// Tells which files need not be sent, as the drive has exactly them.
#[utoipa::path(
    post,
    path = "/api/v1/known",
    request_body = KnownBody,
    responses((status = 200, description = "What is at their places", body = KnownAnswer), ProblemBody)
)]
pub(crate) async fn ask(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let KnownBody { files } = body(&headers, said).await?;
    let mut asked = Vec::with_capacity(files.len());
    for file in files {
        let sha256 = file.sha256.as_deref().map(read_sha256).transpose()?;
        check_size(file.size)?;
        asked.push((path(&file.path)?, file.size, sha256));
    }
    let states = with_drive(&service, &login, move |service, drive| {
        let states = asked.into_iter().map(|(path, size, sha256)| state(service, drive, &path, (size, sha256)));
        states.collect::<Result<Vec<_>, _>>()
    });
    Ok(json(StatusCode::OK, &KnownAnswer { states: states.await? }))
}

fn state(
    service: &Service,
    drive: &Drive,
    path: &DrivePath,
    (size, sha256): (u64, Option<[u8; 32]>),
) -> Result<KnownState, Problem> {
    let failed = |error: DriveError| problem::of_drive("looking for a file", &error);
    let view = drive.view(service);
    let present = match view.look(path) {
        Err(DriveError::NotFound) => None,
        found => found.map_err(failed)?,
    };
    let here = match &present {
        None => KnownState::Absent,
        Some(file) => match (file.size == size, file.sha256, sha256) {
            (true, Some(_), None) => return Ok(KnownState::SameSize),
            (true, Some(known), Some(asked)) if known == asked => return Ok(KnownState::Identical),
            _ => KnownState::Different,
        },
    };
    // Nothing is saved by not sending nothing.
    if size == 0 {
        return Ok(here);
    }
    Ok(match sha256 {
        None if view.has_size(size).map_err(failed)? => KnownState::SameSizeElsewhere,
        Some(sha256) if view.find_content(size, &sha256).map_err(failed)?.is_some() => KnownState::Elsewhere,
        _ => here,
    })
}

fn read_sha256(digits: &str) -> Result<[u8; 32], Problem> {
    let bad = || problem::new(StatusCode::BAD_REQUEST, "a SHA-256 is 64 hexadecimal digits");
    object::hex::decode::<32>(digits).ok_or_else(bad)
}

fn check_size(size: u64) -> Result<(), Problem> {
    match size > LEN_MAX {
        true => Err(problem::new(StatusCode::BAD_REQUEST, &format!("a file has at most {LEN_MAX} bytes"))),
        false => Ok(()),
    }
}

/// A file whose bytes are here already.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PlaceBody {
    /// Where it goes.
    path: String,
    #[schema(maximum = 9007199254740991u64)]
    size: u64,
    /// In hexadecimal.
    sha256: String,
    #[serde(default)]
    conflict: OnConflict,
    /// When the file was changed last, in milliseconds since 1970.
    mtime_ms: Option<i64>,
}

/// Makes a file, or gives one a new version, of bytes that the drive has already: as if they had been sent. 404 when it has
/// them not, or not any more.
#[utoipa::path(
    post,
    path = "/api/v1/place",
    params(
        (
            "Idempotency-Key" = Option<String>,
            Header,
            description = "1 to 128 bytes: asked again under the same key, it is not done again",
        ),
    ),
    request_body = PlaceBody,
    responses(
        (status = 200, description = "A new version, the same content, or a file that stays", body = PutAnswer),
        (status = 201, description = "A new file", body = PutAnswer),
        ProblemBody,
    )
)]
pub(crate) async fn place(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let PlaceBody { path: said_path, size, sha256, conflict, mtime_ms } = body(&headers, said).await?;
    let (path, sha256) = (path(&said_path)?, read_sha256(&sha256)?);
    if path.is_root() {
        return Err(problem::new(StatusCode::CONFLICT, "the root is not a file"));
    }
    conflict.check(&login)?;
    check_size(size)?;
    let ChangeKey { key, is_said } = ChangeKey::of(&headers)?;
    let conditions = Conditions::default();
    let request = Request { path, on_conflict: conflict, conditions, key, may_repeat: is_said, mtime_ms };
    let incoming = Incoming::new(&service, &login.account, Some(&request.path), (0, Some(size)));
    let placed = with_drive(&service, &login, move |service, drive| {
        check_len(service, size)?;
        let content = drive.view(service).find_content(size, &sha256);
        let content = content.map_err(|error| problem::of_drive("looking for a content", &error))?;
        let missing = || problem::new(StatusCode::NOT_FOUND, "the drive has no file with these bytes: send it");
        let content = content.ok_or_else(missing)?;
        let uploaded = Uploaded { content, size, sha256, brought: Brought::default() };
        let store = &service.home.store;
        let session = store.begin(drive.vault.id, &Purpose::Drive { device: None }, clock::now());
        let (mut session, _) = session.map_err(|error| of_store(service, &error))?;
        let mut editor = DriveEditor::new(store, &mut session, drive.vault.id, drive.managed());
        let taken = name(service, drive, &mut editor, &request, &uploaded);
        end(session);
        taken
    });
    let taken = placed.await.inspect_err(|problem| match problem.status() {
        // It is sent then.
        StatusCode::NOT_FOUND => {}
        _ => incoming.failed(problem),
    })?;
    incoming.taken(&taken);
    Ok(json(taken.status(), &PutAnswer::of(&service, &taken)))
}
