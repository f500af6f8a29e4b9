//! [`Uploader`]: sends what the server does not have: as deltas, as chunks of their own, or in groups.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;
use object::{Kind, ObjectId, SealedRecord};
use vault::{ExactDelta, Mode, PlainObject, is_worth_its_bases};

use super::matching::DeltaFinder;
use super::memory::{Fate, remember, remember_supplement};
use super::sealing::Producer;
use super::shared::{DeltaSource, Shared};
use super::window::{Window, WindowChunk};
use crate::error::ClientError;
use crate::monitor::Progress;
use crate::signature_cache::{BasisChunk, Form, SignatureCache};

/// Objects up to this length are sealed together with their neighbours.
const GROUPED_LEN_MAX: usize = 192 * 1024;
/// A group is closed when it holds this much.
const GROUP_LEN: usize = 2 << 20;
const GROUP_COUNT_MAX: usize = 256;
/// A delta below this part of the chunk's length is worth it, however well the chunk compresses.
const SURELY_WORTH_DIVISOR: usize = 8;

/// Sends windows; one per thread.
pub(crate) struct Uploader<'s> {
    shared: &'s Shared<'s>,
    finder: DeltaFinder<'s>,
    producer: Producer,
}

impl<'s> Uploader<'s> {
    pub(crate) fn new(shared: &'s Shared<'s>) -> Self {
        let session = shared.session;
        let producer = Producer::new(session.keys(), session.mode());
        Self { shared, finder: DeltaFinder::new(session), producer }
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
        let is_new = self.missing(chunks.iter().map(|chunk| chunk.id))?;
        let mut new = Vec::new();
        for (chunk, is_new) in chunks.iter().zip(is_new) {
            if is_new {
                new.push(chunk);
            } else {
                self.remember(chunk, &Fate::Held);
            }
        }
        let new_bytes = new.iter().map(|chunk| chunk.bytes.len() as u64).sum();
        Progress::add(&self.shared.progress().bytes_new, new_bytes);
        let (matchable, mut whole): (Vec<&WindowChunk>, Vec<&WindowChunk>) =
            new.into_iter().partition(|chunk| self.finder.is_worth_trying(chunk));
        let deltas = self.finder.find(&matchable)?;
        let mut found = Vec::new();
        for (chunk, delta) in matchable.into_iter().zip(deltas) {
            chunk.file.matched(chunk.bytes.len(), delta.is_some());
            match delta {
                Some(delta) => found.push((chunk, delta)),
                None => whole.push(chunk),
            }
        }
        whole.extend(self.put_deltas(found)?);
        whole.sort_by_key(|chunk| chunk.bytes.len() > GROUPED_LEN_MAX);
        for chunk in &whole {
            self.remember(chunk, &Fate::Sent(Form::Plain));
        }
        self.put_whole(whole.into_iter().map(plain))
    }

    pub(crate) fn metadata(&mut self, objects: &[PlainObject]) -> Result<(), ClientError> {
        let is_new = self.missing(objects.iter().map(|object| object.id))?;
        let new = objects.iter().zip(is_new).filter(|(_, is_new)| *is_new).map(|(object, _)| object.clone());
        self.put_whole(new)
    }

    /// For each id: whether this backup has not dealt with it yet and the server does not hold it.
    fn missing(&self, ids: impl Iterator<Item = ObjectId> + Clone) -> Result<Vec<bool>, ClientError> {
        let mut is_missing = self.shared.first_seen(ids.clone());
        let unknown: Vec<ObjectId> = ids.zip(&is_missing).filter_map(|(id, is_first)| is_first.then_some(id)).collect();
        if unknown.is_empty() {
            return Ok(is_missing);
        }
        let held = self.shared.session.held(&unknown)?;
        for (is_missing, is_held) in is_missing.iter_mut().filter(|is_first| **is_first).zip(held) {
            *is_missing = !is_held;
        }
        Ok(is_missing)
    }

    /// Sends deltas; in a sealed vault without those that are not worth it: they are given back.
    fn put_deltas<'w>(
        &mut self,
        found: Vec<(&'w WindowChunk, ExactDelta)>,
    ) -> Result<Vec<&'w WindowChunk>, ClientError> {
        let mut not_worth_it = Vec::new();
        let mut supplements: Vec<PlainObject> = Vec::new();
        let mut records: Vec<SealedRecord> = Vec::new();
        let mut sources: Vec<(ObjectId, PathBuf, u64, usize)> = Vec::new();
        for (chunk, ExactDelta { delta, supplement }) in found {
            let record = self.producer.delta(&chunk.id, &chunk.bytes, &delta)?;
            if self.shared.session.mode() == Mode::Sealed && !self.is_worth_it(chunk, &record, supplement.as_ref())? {
                not_worth_it.push(chunk);
                continue;
            }
            records.push(record);
            sources.push((chunk.id, chunk.file.path.clone(), chunk.offset, chunk.bytes.len()));
            if let Some(supplement) = supplement {
                remember_supplement(self.shared.session, &chunk.file, as_basis(chunk), &supplement);
                supplements.push(supplement);
            }
            self.remember(chunk, &Fate::Sent(Form::Delta { bases: delta.bases }));
        }
        // What a delta stands on comes before it.
        self.put_whole(supplements.into_iter())?;
        if !records.is_empty() {
            let last_record = self.shared.session.put(records)?;
            self.shared.deltas_sent(last_record, sources);
        }
        Ok(not_worth_it)
    }

    /// Whether a delta is to be stored as it is.
    fn is_worth_it(
        &mut self,
        chunk: &WindowChunk,
        delta: &SealedRecord,
        supplement: Option<&PlainObject>,
    ) -> Result<bool, ClientError> {
        let plain_len = delta.bytes().len() + supplement.map_or(0, |supplement| supplement.body.len());
        if plain_len * SURELY_WORTH_DIVISOR <= chunk.bytes.len() {
            return Ok(true);
        }
        let mut stored_len = delta.bytes().len();
        if let Some(supplement) = supplement {
            stored_len += self.producer.whole(std::slice::from_ref(supplement))?.bytes().len();
        }
        let whole_len = self.producer.whole(&[plain(chunk)])?.bytes().len();
        Ok(is_worth_its_bases(stored_len, whole_len))
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
        let record = self.producer.whole(objects)?;
        self.shared.session.put(vec![record])?;
        Ok(())
    }

    /// Sends chunks whose deltas were refused, whole this time.
    pub(crate) fn put_refused(
        &mut self,
        refused: Vec<(ObjectId, DeltaSource)>,
        signatures: &SignatureCache,
    ) -> Result<(), ClientError> {
        for (id, DeltaSource { path, offset, len, .. }) in refused {
            // In a sealed vault only the memory can be at fault: what it takes to be whole is not, or is not there.
            if self.shared.session.mode() == Mode::Sealed {
                signatures.forget(path.as_os_str().as_bytes());
            }
            // Bounded: a chunk that was read before.
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

    fn remember(&self, chunk: &WindowChunk, fate: &Fate) {
        remember(self.shared.session, &chunk.file, as_basis(chunk), &chunk.bytes, fate);
    }
}

fn plain(chunk: &WindowChunk) -> PlainObject {
    PlainObject { kind: Kind::Data, id: chunk.id, edges: Vec::new(), body: chunk.bytes.clone() }
}

fn as_basis(chunk: &WindowChunk) -> BasisChunk {
    let len = u32::try_from(chunk.bytes.len()).expect("chunks are at most 4 MiB");
    BasisChunk { id: chunk.id, len, offset: chunk.offset }
}
