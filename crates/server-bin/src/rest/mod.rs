//! REST under `/api/v1`: the drive of an account's first managed vault, for any HTTP client.
//!
//! Whoever gets here has logged in and may do what the route's row in the table of access says. What is not theirs is
//! as good as not there. Content is only ever given out to be saved, never to be shown in this origin.

pub(crate) mod account;
pub(crate) mod accounts;
pub(crate) mod activity;
pub(crate) mod archive;
pub(crate) mod audit;
mod body;
pub(crate) mod chains;
pub(crate) mod content;
pub(crate) mod devices;
pub(crate) mod digest;
mod entries;
pub(crate) mod events;
mod export;
pub(crate) mod files;
pub(crate) mod folders;
pub(crate) mod form;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
pub(crate) mod health;
pub(crate) mod jobs;
pub(crate) mod known;
pub(crate) mod links;
mod multipart;
pub(crate) mod openapi;
mod paging;
pub(crate) mod parse;
pub(crate) mod problem;
pub(crate) mod repeat;
pub(crate) mod retention;
pub(crate) mod search;
pub(crate) mod second_factor;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod setup;
pub(crate) mod shares;
pub(crate) mod snapshots;
pub(crate) mod statistics;
pub(crate) mod thumbnails;
pub(crate) mod tickets;
pub(crate) mod tokens;
pub(crate) mod trash;
pub(crate) mod tus;
pub(crate) mod upload;
pub(crate) mod versions;

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use proto::DrivePath;
use serde::Serialize;
use store::{AccountId, DriveCommitted, Purpose};
use utoipa::ToSchema;

use crate::clock;
use crate::drive::{DriveEditor, DriveError, DriveView, FileVersion};
use crate::login::Login;
use crate::rest::problem::Problem;
use crate::service::Service;
use crate::vaults::{Managed, OpenVault, OpenVaultError};

/// The vault whose drive an account sees.
#[derive(Clone, Debug)]
pub(crate) struct Drive {
    pub(crate) vault: Arc<OpenVault>,
}

impl Drive {
    fn open(service: &Service, account: AccountId) -> Result<Self, Problem> {
        let home = &service.home;
        let vault = service.vaults.open(&home.store, &home.keys, account, None).map_err(|error| match error {
            OpenVaultError::NotFound => problem::new(StatusCode::NOT_FOUND, "the account has no drive"),
            OpenVaultError::Store(error) => problem::of_store("opening a vault", &error),
            OpenVaultError::Key(error) => problem::internal("opening a vault", &error),
        })?;
        match vault.managed() {
            Some(_) => Ok(Self { vault }),
            None => Err(problem::of_drive("opening a vault", &DriveError::Sealed)),
        }
    }

    fn managed(&self) -> &Managed {
        self.vault.managed().expect("looked at when it was opened")
    }

    pub(crate) fn view<'a>(&'a self, service: &'a Service) -> DriveView<'a> {
        DriveView::new(&service.home.store, self.vault.id, &self.managed().keys)
    }
}

/// Does something that blocks with the drive of who is logged in.
pub(crate) async fn with_drive<T: Send + 'static>(
    service: &Arc<Service>,
    login: &Login,
    work: impl FnOnce(&Service, &Drive) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    with_drive_of(service, login.account_id(), work).await
}

/// Does something that blocks with the drive of an account.
pub(crate) async fn with_drive_of<T: Send + 'static>(
    service: &Arc<Service>,
    account: AccountId,
    work: impl FnOnce(&Service, &Drive) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let working = Arc::clone(service);
    let done = service.pool.run(move || work(&working, &Drive::open(&working, account)?)).await;
    service.note_halt();
    done.unwrap_or_else(|error| Err(problem::internal("using the drive", &error)))
}

/// A version of the file at `path`; the newest where none is wanted.
fn version_at(service: &Service, drive: &Drive, path: &DrivePath, wanted: Option<u64>) -> Result<FileVersion, Problem> {
    let missing = |error: DriveError| problem::of_drive("looking for a file", &error);
    let view = drive.view(service);
    let file = match wanted {
        None => view.look(path).map_err(missing)?,
        Some(wanted) => {
            let versions = view.versions(path).map_err(missing)?;
            Some(versions.into_iter().find(|file| file.version == wanted).ok_or(missing(DriveError::NotFound))?)
        }
    };
    file.ok_or_else(|| problem::new(StatusCode::CONFLICT, "this is a directory"))
}

/// Changes the drive of who is logged in.
async fn change(
    service: &Arc<Service>,
    login: &Login,
    edit: impl FnOnce(&mut DriveEditor<'_>) -> Result<DriveCommitted, DriveError> + Send + 'static,
) -> Response {
    let changed =
        with_drive(service, login, move |service, drive| change_on(service, drive, |mut editor| edit(&mut editor)));
    match changed.await {
        Ok(committed) => json(
            StatusCode::OK,
            &Changed {
                version: committed.versions.last().copied().unwrap_or_default(),
                is_repeated: committed.repeated,
            },
        ),
        Err(problem) => problem.into_response(),
    }
}

/// Changes a drive. Blocks.
pub(crate) fn change_on(
    service: &Service,
    drive: &Drive,
    edit: impl FnOnce(DriveEditor<'_>) -> Result<DriveCommitted, DriveError>,
) -> Result<DriveCommitted, Problem> {
    let store = &service.home.store;
    let refuse = |error: &DriveError| {
        if let DriveError::Store(error) = error {
            service.note(error);
        }
        problem::of_drive("changing the drive", error)
    };
    let begun = store.begin(drive.vault.id, &Purpose::Drive { device: None }, clock::now());
    let (mut session, _) = begun.map_err(|error| refuse(&error.into()))?;
    let changed = edit(DriveEditor::new(store, &mut session, drive.vault.id, drive.managed()));
    if let Err(error) = session.finish(clock::now()) {
        tracing::debug!(%error, "a session could not be ended");
    }
    service.metrics.commits.add(u64::from(changed.is_ok()));
    changed.map_err(|error| refuse(&error))
}

/// What a change came to.
#[derive(Debug, Serialize, ToSchema)]
struct Changed {
    /// The drive's version after it.
    version: u64,
    /// Whether this had been asked for, and done, before.
    is_repeated: bool,
}

/// Does something that blocks.
pub(crate) async fn on_pool<T: Send + 'static>(
    service: &Arc<Service>,
    doing: &'static str,
    work: impl FnOnce(&Service) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let working = Arc::clone(service);
    let worked = service.pool.run(move || work(&working)).await;
    service.note_halt();
    worked.unwrap_or_else(|error| Err(problem::internal(doing, &error)))
}

/// The answer when there is nothing more to say.
fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("answers are plain structures");
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
