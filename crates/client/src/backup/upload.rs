//! [`Uploader`]: sends what the server does not have: as deltas, as chunks of their own, or in groups.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;
use delta_core::Signature;
use object::{Kind, ObjectId, SealedRecord};
use vault::{CompressionLevel, EncodedDelta, Piece, PlainObject, SealError, Sealer};

use super::matching::{DeltaFinder, TARGET_LEN_MIN};
use super::shared::{DeltaSource, Shared};
use super::window::{Window, WindowChunk};
use crate::error::ClientError;
use crate::monitor::Progress;

/// Objects up to this length are sealed together with their neighbours.
const GROUPED_LEN_MAX: usize = 128 * 1024;
/// A group is closed when it holds this much.
const GROUP_LEN: usize = 512 * 1024;
const GROUP_COUNT_MAX: usize = 256;

/// Sends windows; one per thread.
pub(crate) struct Uploader<'s> {
    shared: &'s Shared<'s>,
    finder: DeltaFinder<'s>,
    sealer: Sealer,
}

impl<'s> Uploader<'s> {
    pub(crate) fn new(shared: &'s Shared<'s>) -> Self {
        Self {
            shared,
            finder: DeltaFinder::new(shared.session),
            sealer: Sealer::new(shared.keys(), Shared::salt(), CompressionLevel::DEFAULT),
        }
    }

    /// Sends until there is nothing more to send.
    pub(crate) fn run(&mut self, windows: &crossbeam_channel::Receiver<Window>) -> Result<(), ClientError> {
        for window in windows {
            match window {
                Window::Data { chunks, share } => {
                    self.data(&chunks)?;
                    drop((chunks, share));
                }
                Window::Metadata(objects) => self.metadata(&objects)?,
            }
        }
        Ok(())
    }

    fn data(&mut self, chunks: &[WindowChunk]) -> Result<(), ClientError> {
        for chunk in chunks {
            self.remember(chunk);
        }
        let new: Vec<&WindowChunk> = self.missing(chunks, |chunk| chunk.id)?;
        let new_bytes = new.iter().map(|chunk| chunk.bytes.len() as u64).sum();
        Progress::add(&self.shared.progress().bytes_new, new_bytes);
        let (matchable, mut whole): (Vec<&WindowChunk>, Vec<&WindowChunk>) = new.into_iter().partition(|chunk| {
            chunk.bytes.len() >= TARGET_LEN_MIN && !chunk.bases.is_empty() && chunk.file.is_worth_matching()
        });
        let deltas = self.finder.find(&matchable)?;
        let mut found = Vec::new();
        for (chunk, delta) in matchable.into_iter().zip(deltas) {
            chunk.file.matched(delta.is_some());
            match delta {
                Some(delta) => found.push((chunk, delta)),
                None => whole.push(chunk),
            }
        }
        self.put_deltas(&found)?;
        whole.sort_by_key(|chunk| chunk.bytes.len() > GROUPED_LEN_MAX);
        let objects = whole.into_iter().map(|chunk| PlainObject {
            kind: Kind::Data,
            id: chunk.id,
            edges: Vec::new(),
            body: chunk.bytes.clone(),
        });
        self.put_whole(objects)
    }

    pub(crate) fn metadata(&mut self, objects: &[PlainObject]) -> Result<(), ClientError> {
        let new = self.missing(objects, |object| object.id)?;
        self.put_whole(new.into_iter().cloned())
    }

    /// Those that this backup has not dealt with yet and the server does not hold.
    fn missing<'i, T>(&self, items: &'i [T], id: impl Fn(&T) -> ObjectId) -> Result<Vec<&'i T>, ClientError> {
        let first_seen = self.shared.first_seen(items.iter().map(&id));
        let unknown: Vec<&T> = items.iter().zip(first_seen).filter_map(|(item, is)| is.then_some(item)).collect();
        if unknown.is_empty() {
            return Ok(unknown);
        }
        let ids: Vec<ObjectId> = unknown.iter().map(|item| id(item)).collect();
        let held = self.shared.session.held(&ids)?;
        Ok(unknown.into_iter().zip(held).filter_map(|(item, is_held)| (!is_held).then_some(item)).collect())
    }

    fn put_deltas(&mut self, found: &[(&WindowChunk, EncodedDelta)]) -> Result<(), ClientError> {
        if found.is_empty() {
            return Ok(());
        }
        let mut records = Vec::with_capacity(found.len());
        for (chunk, delta) in found {
            let len = chunk.bytes.len();
            records.push(self.seal(|sealer| sealer.seal_delta(&chunk.id, len, &delta.bases, &delta.encoded))?);
        }
        let sources: Vec<(ObjectId, PathBuf, u64, usize)> = found
            .iter()
            .map(|(chunk, _)| (chunk.id, chunk.file.path.clone(), chunk.offset, chunk.bytes.len()))
            .collect();
        let last_record = self.shared.session.put(records)?;
        self.shared.deltas_sent(last_record, sources);
        Ok(())
    }

    /// Seals objects, small ones together with their neighbours, and sends them.
    fn put_whole(&mut self, objects: impl Iterator<Item = PlainObject>) -> Result<(), ClientError> {
        let mut group: Vec<PlainObject> = Vec::new();
        let mut group_len = 0;
        for object in objects {
            let len = object.body.len();
            if len > GROUPED_LEN_MAX {
                self.put_group(std::slice::from_ref(&object))?;
                continue;
            }
            if group_len + len > GROUP_LEN || group.len() == GROUP_COUNT_MAX {
                self.put_group(&group)?;
                group.clear();
                group_len = 0;
            }
            group_len += len;
            group.push(object);
        }
        self.put_group(&group)
    }

    fn put_group(&mut self, objects: &[PlainObject]) -> Result<(), ClientError> {
        if objects.is_empty() {
            return Ok(());
        }
        let record = self.seal(|sealer| sealer.seal(objects))?;
        self.shared.session.put(vec![record])?;
        Ok(())
    }

    /// Sends chunks whose deltas were refused, whole this time.
    pub(crate) fn put_refused(&mut self, refused: Vec<(ObjectId, DeltaSource)>) -> Result<(), ClientError> {
        for (id, DeltaSource { path, offset, len, .. }) in refused {
            let mut bytes = vec![0; len];
            let read = File::open(&path).and_then(|file| file.read_exact_at(&mut bytes, offset));
            if read.is_err() || self.shared.keys().chunk_id(&bytes) != id {
                return Err(ClientError::ChangedUnderway { id, path });
            }
            let object = PlainObject { kind: Kind::Data, id, edges: Vec::new(), body: Bytes::from(bytes) };
            self.put_group(&[object])?;
        }
        Ok(())
    }

    /// Keeps the chunk's signature, for files that are worth it.
    fn remember(&self, chunk: &WindowChunk) {
        let Some(memory) = chunk.file.memory() else {
            return;
        };
        let piece = Piece::Chunk { len: chunk.bytes.len() as u64, id: chunk.id };
        let mode = self.shared.session.mode();
        let params = mode.params(mode.cached_level(), chunk.offset);
        let signature = Signature::compute(&chunk.bytes, params, self.shared.keys().hash_key());
        let mut encoded = Vec::new();
        signature.expect("chunks are at most 4 MiB").encode(&mut encoded);
        memory.add(chunk.offset, piece, Some(&encoded));
    }

    /// Seals; begins another sealing session when this one is used up.
    fn seal(
        &mut self,
        mut seal: impl FnMut(&mut Sealer) -> Result<SealedRecord, SealError>,
    ) -> Result<SealedRecord, ClientError> {
        match seal(&mut self.sealer) {
            Err(SealError::UsedUp) => {
                self.sealer = Sealer::new(self.shared.keys(), Shared::salt(), CompressionLevel::DEFAULT);
                seal(&mut self.sealer)
            }
            sealed => sealed,
        }
        .map_err(|error| ClientError::Usage(format!("objects cannot be sealed: {error}")))
    }
}
