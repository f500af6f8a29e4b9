//! One request's bytes of an upload: a thread cuts and stores them, makes them durable now and then, and at their end; where
//! the file ends, too, it gets its name.

use std::time::Instant;

use axum::http::StatusCode;
use proto::{DrivePath, IdempotencyKey};
use store::{UploadId, WriteSession};
use tokio::sync::mpsc;

use crate::drive::{DriveEditor, Unfinished, UploadWriter};
use crate::keys::random;
use crate::rest::Drive;
use crate::rest::body::Slice;
use crate::rest::problem::{self, Problem};
use crate::rest::tus::announced::{Becomes, Place};
use crate::rest::tus::checksum::Checksum;
use crate::rest::tus::{find, wrong_offset};
use crate::rest::upload::{Request, Taken, end, name, of_upload, writer};
use crate::service::Service;

/// At the latest after so many bytes, what has come is made durable: whoever dies then has to send no more than that again.
const SAVE_LEN: u64 = 64 << 20;

/// What has become of an upload.
pub(super) enum Came {
    /// So many bytes of it are here.
    Here(u64),
    /// It is a file.
    File(Box<Taken>),
    /// The request ended before its time; what came is here.
    CutOff,
}

/// What a request brings for which upload.
pub(super) struct Part {
    pub(super) upload: UploadId,
    pub(super) offset: u64,
    /// Where the file goes; none for a part.
    pub(super) path: Option<DrivePath>,
    pub(super) checksum: Option<Checksum>,
}

/// Takes the bytes of one request.
pub(super) fn take(
    service: &Service,
    drive: &Drive,
    part: Part,
    mut received: mpsc::Receiver<Slice>,
) -> Result<Came, Problem> {
    let Part { upload: id, offset, mut checksum, .. } = part;
    let (upload, announced) = find(service, drive, id)?;
    if upload.offset != offset {
        return Err(wrong_offset(upload.offset));
    }
    let place = match announced.becomes {
        Becomes::Part => None,
        Becomes::File { place, .. } => Some(place),
    };
    let mut taking = Taking {
        writer: writer(service, drive, place.as_ref().map(|place| &place.path))?,
        id,
        saved_len: offset,
        saved_at: Instant::now(),
    };
    let taken = taking
        .go_on(service, drive, &upload)
        .and_then(|()| taking.take_all(service, upload.len, &mut checksum, &mut received));
    let done = taken.and_then(|is_whole| {
        match checksum {
            Some(checksum) if is_whole && checksum.is_right() => {}
            Some(_) if is_whole => return Err(mismatch()),
            // Nobody knows whether what came is right.
            Some(_) => return Ok(false),
            None => {}
        }
        if !is_whole || taking.writer.len() < upload.len {
            taking.save(service)?;
        }
        Ok(is_whole)
    });
    let mut writer = taking.writer;
    let is_whole = match done {
        Ok(is_whole) => is_whole,
        Err(problem) => {
            writer.abandon();
            return Err(problem);
        }
    };
    let len = writer.len();
    match place {
        Some(place) if is_whole && len == upload.len => {
            let mut taken = become_file(service, drive, writer, place, (id, &[]))?;
            taken.stored.bytes += upload.bytes_stored;
            Ok(Came::File(Box::new(taken)))
        }
        None if is_whole && len == upload.len => {
            let saved = writer.cut_rest().and_then(|()| writer.save(id));
            count(service, drive, &writer);
            writer.abandon();
            saved.map_err(|error| of_upload(service, &error))?;
            Ok(Came::Here(len))
        }
        _ => {
            count(service, drive, &writer);
            writer.abandon();
            Ok(if is_whole { Came::Here(len) } else { Came::CutOff })
        }
    }
}

/// Counts what a request brought of a file that is not complete with it.
fn count(service: &Service, drive: &Drive, writer: &UploadWriter) {
    let brought = writer.brought();
    service.tally.add(drive.vault.account, brought.traffic(brought.sent_bytes, 0));
}

/// Completes a file and gives it its name, which ends the upload and the parts it was made of.
pub(super) fn become_file(
    service: &Service,
    drive: &Drive,
    writer: UploadWriter,
    place: Place,
    (upload, parts): (UploadId, &[UploadId]),
) -> Result<Taken, Problem> {
    let (uploaded, mut session): (_, WriteSession) = writer.finish().map_err(|error| of_upload(service, &error))?;
    let Place { path, on_conflict, mtime_ms, conditions } = place;
    // The upload's row tells whether this was done, so the key is for once only.
    let key = random().map_err(|error| problem::internal("drawing a key", &error))?;
    let key = IdempotencyKey::from_bytes(key);
    let request = Request { path, on_conflict, conditions, key, may_repeat: false, mtime_ms };
    let editor = DriveEditor::new(&service.home.store, &mut session, drive.vault.id, drive.managed());
    let taken = name(service, drive, &mut editor.ending(upload, parts), &request, &uploaded);
    end(session);
    taken
}

struct Taking {
    writer: UploadWriter,
    id: UploadId,
    saved_len: u64,
    saved_at: Instant,
}

impl Taking {
    /// Starts from what is here.
    fn go_on(&mut self, service: &Service, drive: &Drive, upload: &store::Upload) -> Result<(), Problem> {
        let store = &service.home.store;
        let sealed = store.upload_rest(drive.vault.id, self.id);
        let sealed = sealed.map_err(|error| problem::of_store("going on with an upload", &error))?;
        let unfinished = Unfinished::open(sealed, &drive.managed().keys, self.id);
        let unfinished = unfinished.ok_or(crate::drive::UploadError::Unreadable);
        let stored = (upload.content, upload.content_len);
        let gone_on = unfinished.and_then(|rest| self.writer.go_on((store, drive.vault.id), stored, rest));
        gone_on.map_err(|error| of_upload(service, &error))
    }

    /// Takes everything that comes, at most up to `len`. Whether it came to its end.
    fn take_all(
        &mut self,
        service: &Service,
        len: u64,
        checksum: &mut Option<Checksum>,
        received: &mut mpsc::Receiver<Slice>,
    ) -> Result<bool, Problem> {
        loop {
            let bytes = match received.blocking_recv() {
                Some(Slice::Bytes(bytes)) => bytes,
                Some(Slice::End) => return Ok(true),
                None => return Ok(false),
            };
            if bytes.len() as u64 > len - self.writer.len() {
                return Err(beyond(len));
            }
            self.writer.push(&bytes).map_err(|error| of_upload(service, &error))?;
            match checksum {
                // Nothing of it counts before all of it has come and is right.
                Some(checksum) => checksum.update(&bytes),
                None if self.is_time_to_save(service) => self.save(service)?,
                None => {}
            }
        }
    }

    fn is_time_to_save(&self, service: &Service) -> bool {
        self.writer.len() - self.saved_len >= SAVE_LEN || self.saved_at.elapsed() >= service.home.settings.seal_interval
    }

    fn save(&mut self, service: &Service) -> Result<(), Problem> {
        if self.writer.len() > self.saved_len {
            self.writer.save(self.id).map_err(|error| of_upload(service, &error))?;
        }
        self.saved_len = self.writer.len();
        self.saved_at = Instant::now();
        Ok(())
    }
}

/// More was sent than was announced.
pub(super) fn beyond(len: u64) -> Problem {
    problem::new(StatusCode::PAYLOAD_TOO_LARGE, &format!("the upload was announced with {len} bytes"))
}

fn mismatch() -> Problem {
    let status = StatusCode::from_u16(460).expect("a number of three digits");
    problem::new(status, "the bytes are not what their checksum says; none of them were taken").passing()
}
