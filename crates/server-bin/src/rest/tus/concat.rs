//! A file put together from parts: their bytes are read in order and cut as if they had come in one piece, so that the
//! chunks are those of any other upload of this file. What most of them are made of is stored already.

use std::sync::Arc;

use axum::http::StatusCode;
use store::{Upload, UploadId};

use crate::drive::{RangeReader, from_stored};
use crate::ingest::Brought;
use crate::live::Incoming;
use crate::login::Login;
use crate::rest::problem::{self, Problem};
use crate::rest::tus::announced::{Announced, Becomes};
use crate::rest::tus::part::{Came, become_file};
use crate::rest::tus::{announce, busy, find};
use crate::rest::upload::{of_upload, on_thread, slot, writer};
use crate::rest::{Drive, with_drive};
use crate::service::Service;

/// Puts a file together; its upload, and what became of it. Asked for again, it is not done again.
pub(super) async fn put_together(
    service: &Arc<Service>,
    login: &Login,
    announced: Announced,
    parts: Vec<UploadId>,
) -> Result<(UploadId, Came), Problem> {
    let id = id_of(&announced, &parts);
    let looked = parts.clone();
    let path = announced.path().cloned();
    let is_done = with_drive(service, login, move |service, drive| {
        let store = &service.home.store;
        let known = store.upload(drive.vault.id, id);
        if let Some(known) = known.map_err(|error| problem::of_store("looking for an upload", &error))?
            && known.is_done
        {
            return Ok(Some(known.len));
        }
        let mut len: u64 = 0;
        for part in looked {
            len = len.saturating_add(find_part(service, drive, part)?.len);
        }
        announce(service, drive, id, len, &announced).map(|_| None)
    });
    if let Some(len) = is_done.await? {
        return Ok((id, Came::Here(len)));
    }
    let turn = service.turns.take_over(id).await.ok_or_else(busy)?;
    let slot = slot(service, login.account_id()).await?;
    let incoming = Incoming::new(service, &login.account, path.as_ref(), (0, None));
    let answered = on_thread(service, login.account_id(), slot, move |service, drive| {
        let came = join(service, drive, id, &parts);
        drop(turn);
        came
    });
    let came = answered?.await.unwrap_or_else(|error| Err(problem::internal("putting a file together", &error)));
    let came = came.inspect_err(|problem| incoming.failed(problem))?;
    if let Came::File(taken) = &came {
        incoming.taken(taken);
    }
    Ok((id, came))
}

/// The same parts for the same place are the same upload. Nobody can guess its id who does not know those of the parts.
fn id_of(announced: &Announced, parts: &[UploadId]) -> UploadId {
    let mut hasher = blake3::Hasher::new_derive_key("delta-backup v1 upload put together from parts");
    for part in parts {
        hasher.update(part.as_bytes());
    }
    for (name, value) in announced.repeated() {
        hasher.update(name.as_str().as_bytes()).update(value.as_bytes());
    }
    UploadId::from_bytes(*hasher.finalize().as_bytes().first_chunk().expect("the hash is longer"))
}

fn find_part(service: &Service, drive: &Drive, id: UploadId) -> Result<Upload, Problem> {
    let (part, announced) = find(service, drive, id)?;
    match announced.becomes {
        Becomes::Part if part.offset == part.len => Ok(part),
        Becomes::Part => Err(problem::new(StatusCode::CONFLICT, "a part is not complete")),
        Becomes::File { .. } => Err(problem::new(StatusCode::BAD_REQUEST, "an upload is not announced as a part")),
    }
}

fn join(service: &Service, drive: &Drive, id: UploadId, parts: &[UploadId]) -> Result<Came, Problem> {
    let (upload, announced) = find(service, drive, id)?;
    if upload.is_done {
        return Ok(Came::Here(upload.len));
    }
    let Becomes::File { place, .. } = announced.becomes else { unreachable!("it was announced as a file") };
    let mut writer = writer(service, drive, Some(&place.path))?;
    if let Err(problem) = read_parts(service, drive, parts, &mut |bytes: &[u8]| {
        writer.push(bytes).map_err(|error| of_upload(service, &error))
    }) {
        writer.abandon();
        return Err(problem);
    }
    let mut taken = become_file(service, drive, writer, place, (id, parts))?;
    // All of it came with the parts.
    taken.brought = Brought::default();
    Ok(Came::File(Box::new(taken)))
}

fn read_parts(
    service: &Service,
    drive: &Drive,
    parts: &[UploadId],
    push: &mut dyn FnMut(&[u8]) -> Result<(), Problem>,
) -> Result<(), Problem> {
    for part in parts {
        let part = find_part(service, drive, *part)?;
        let content = from_stored(part.content);
        let (store, keys) = (&service.home.store, &drive.managed().keys);
        let mut reader = RangeReader::new(store, drive.vault.id, keys, (content, part.len), 0..part.len);
        loop {
            if service.stop.is_cancelled() {
                let wait = crate::rest::body::PATIENCE;
                return Err(problem::retry(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping", wait));
            }
            match reader.next() {
                Ok(Some(bytes)) => push(&bytes)?,
                Ok(None) => break,
                Err(error) => return Err(problem::internal("reading a part", &error)),
            }
        }
    }
    Ok(())
}
