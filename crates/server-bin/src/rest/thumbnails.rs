//! `/api/v1/thumbnail` and `/api/v1/snapshots/{id}/thumbnail`: small pictures of pictures, for lists.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use image::ImageFormat;
use proto::DriveContent;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::browse::version_of;
use crate::drive::{FileVersion, RangeReader};
use crate::login::Login;
use crate::rest::content::{POLICY, media_type_of};
use crate::rest::parse::{Conditions, etag, path, query};
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::snapshots::Own;
use crate::rest::snapshots::browse::{PathQuery, file_in, tree_path};
use crate::rest::upload::FileBytes;
use crate::rest::{done, on_pool, problem, version_at, with_drive};
use crate::service::Service;
use crate::thumbnail::{FILE_LEN_MAX, Key, Picture};
use crate::vaults::OpenVault;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ThumbnailQuery {
    /// A file, as in an entry's `path`.
    path: String,
    /// An old version; the newest where none is said.
    version: Option<u64>,
}

/// The format of what is called so; names decide, as they do everywhere.
fn format_of(name: &[u8]) -> Option<ImageFormat> {
    match media_type_of(name)? {
        "image/png" => Some(ImageFormat::Png),
        "image/jpeg" => Some(ImageFormat::Jpeg),
        "image/gif" => Some(ImageFormat::Gif),
        "image/webp" => Some(ImageFormat::WebP),
        _ => None,
    }
}

/// A small picture, at most 160 pixels wide and high, of a PNG, JPEG, GIF or WebP of at most 8 MiB and some 12 million pixels;
/// of others there is none. Made by the server; its `ETag` says of which content.
#[utoipa::path(
    get,
    path = "/api/v1/thumbnail",
    params(
        ThumbnailQuery,
        ("If-None-Match" = Option<String>, Header, description = "Entity tags: not when it is of one of these contents"),
    ),
    responses(
        (status = 200, description = "The picture", content((FileBytes = "image/jpeg"), (FileBytes = "image/png"))),
        (status = 204, description = "There is none"),
        (status = 304, description = "Known already"),
        ProblemBody,
    )
)]
pub(crate) async fn show(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let ThumbnailQuery { path: said, version } = query(&uri)?;
    let path = path(&said)?;
    let Some(format) = path.name().and_then(|name| format_of(name.as_bytes())) else { return Ok(done()) };
    let (vault, file) = with_drive(&service, &login, move |service, drive| {
        Ok((Arc::clone(&drive.vault), version_at(service, drive, &path, version)?))
    })
    .await?;
    answer(&service, &headers, vault, file, format).await
}

/// A small picture of a file of a snapshot, under the limits of those of the drive.
#[utoipa::path(
    get,
    path = "/api/v1/snapshots/{id}/thumbnail",
    params(
        ("id" = String, Path, description = "All 64 digits"),
        PathQuery,
        ("If-None-Match" = Option<String>, Header, description = "Entity tags: not when it is of one of these contents"),
    ),
    responses(
        (status = 200, description = "The picture", content((FileBytes = "image/jpeg"), (FileBytes = "image/png"))),
        (status = 204, description = "There is none"),
        (status = 304, description = "Known already"),
        ProblemBody,
    )
)]
pub(crate) async fn show_of_snapshot(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let PathQuery { path } = query(&uri)?;
    let path = tree_path(&path)?;
    let format = path.name().and_then(format_of);
    let (vault, file) = on_pool(&service, "looking for a picture of a snapshot", move |service| {
        let own = Own::find(service, &login, &id)?;
        let file = file_in(service, &own, &path)?;
        Ok((own.vault, file))
    })
    .await?;
    let Some(format) = format else { return Ok(done()) };
    answer(&service, &headers, vault, file, format).await
}

/// The small picture of a file that whoever asks may read.
async fn answer(
    service: &Arc<Service>,
    headers: &HeaderMap,
    vault: Arc<OpenVault>,
    file: FileVersion,
    format: ImageFormat,
) -> Result<Response, Problem> {
    let (DriveContent::Chunk(content) | DriveContent::List(content)) = file.content else { return Ok(done()) };
    if file.size > FILE_LEN_MAX {
        return Ok(done());
    }
    let tag = version_of(Some(content));
    if Conditions::of(headers)?.is_excluded(Some(tag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag(tag))]).into_response());
    }
    let key = (vault.id, content);
    let known = match service.thumbnails.find(&key) {
        Some(known) => known,
        None => make(service, vault, file, format, key).await?,
    };
    let Some(picture) = known else { return Ok(done()) };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(picture.media_type)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // Asked for again each time, so that it is shown to those only who may still see the file.
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
        (header::ETAG, HeaderValue::from_str(&etag(tag)).expect("made of visible ASCII")),
    ];
    Ok((StatusCode::OK, headers, picture.bytes.clone()).into_response())
}

/// Makes a picture when it is its turn, unless somebody else did meanwhile.
async fn make(
    service: &Arc<Service>,
    vault: Arc<OpenVault>,
    file: FileVersion,
    format: ImageFormat,
    key: Key,
) -> Result<Option<Arc<Picture>>, Problem> {
    let turn = service.thumbnails.turn().await;
    if let Some(known) = service.thumbnails.find(&key) {
        return Ok(known);
    }
    on_pool(service, "making a small picture", move |service| {
        let failed = |error| problem::internal("reading a picture", &error);
        let keys = &vault.managed().expect("looked at when its file was found").keys;
        let whole = (file.content, file.size);
        let mut reader = RangeReader::new(&service.home.store, vault.id, keys, whole, 0..file.size);
        let mut bytes = Vec::new();
        while let Some(part) = reader.next().map_err(failed)? {
            bytes.extend_from_slice(&part);
        }
        drop(reader);
        let made = Picture::of(&bytes, format).map(Arc::new);
        if let Err(error) = &made {
            tracing::debug!(%error, "there is no small picture of a file");
        }
        let made = made.ok();
        service.thumbnails.keep(key, made.clone());
        drop(turn);
        Ok(made)
    })
    .await
}
