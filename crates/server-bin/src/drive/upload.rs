//! [`UploadWriter`]: a file's plain bytes, in order, become chunks, deltas and a list. Nothing of it is visible before the
//! drive's commit names it.

use std::sync::Arc;

use bytes::Bytes;
use object::{Kind, VaultId};
use proto::DriveContent;
use sha2::{Digest, Sha256};
use store::{Store, StoreError, UploadId, UploadProgress, WriteSession};
use vault::{Content, Keys, ListBuilder, Piece, PieceCursor, PlainObject, ReadError, Reader};

use crate::basis::{BasisCache, BasisError};
use crate::clock;
use crate::drive::content::{VaultSource, content_of, from_stored, to_stored};
use crate::drive::previous::PreviousChunks;
use crate::drive::unfinished::Unfinished;
use crate::failure::Failure;
use crate::ingest::Brought;
use crate::reseal::{ResealError, Resealer, Stored, is_damage};

/// Pages kept while the list of what is stored is gone through.
const RECENT_BYTES: usize = 1 << 20;
/// So much of what is stored is looked for in the version before, to learn how far the content has shifted.
const ANCHORED_LEN: u64 = 64 << 20;

/// Why a file cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record could not be made.
    #[error("a chunk could not be sealed")]
    Seal(#[from] vault::SealError),
    /// The system has no randomness.
    #[error(transparent)]
    Random(#[from] Failure),
    /// What came before cannot be read.
    #[error("what is here of the file cannot be read")]
    Read(#[from] ReadError<StoreError>),
    /// What is known of it does not open, or does not fit together: the catalog was altered.
    #[error("what is known of the file so far cannot be read")]
    Unreadable,
}

impl From<ResealError> for UploadError {
    fn from(error: ResealError) -> Self {
        match error {
            ResealError::Store(error) => Self::Store(error),
            ResealError::Seal(error) => Self::Seal(error),
        }
    }
}

/// A file that was taken in, and has no name yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uploaded {
    /// Where the bytes are.
    pub(crate) content: DriveContent,
    /// How many.
    pub(crate) size: u64,
    /// Of all of them.
    pub(crate) sha256: [u8; 32],
    /// What this writer took.
    pub(crate) brought: Brought,
}

/// Takes a file's bytes in. Memory: some 8 MiB, the chunks a delta is made from, and the tables of the encoder, whatever
/// the file's size.
pub(crate) struct UploadWriter {
    session: WriteSession,
    keys: Arc<Keys>,
    cache: Arc<BasisCache>,
    resealer: Resealer,
    previous: Option<PreviousChunks>,
    list: ListBuilder,
    hash: Sha256,
    /// What is not cut yet.
    uncut: Vec<u8>,
    brought: Brought,
}

impl UploadWriter {
    /// Writes into `session`; `previous` is the content and size of the version before.
    ///
    /// # Errors
    /// [`UploadError::Random`].
    pub(crate) fn new(
        (store, vault): (&Store, VaultId),
        session: WriteSession,
        keys: &Arc<Keys>,
        cache: Arc<BasisCache>,
        previous: Option<(DriveContent, u64)>,
    ) -> Result<Self, UploadError> {
        Ok(Self {
            session,
            keys: Arc::clone(keys),
            cache,
            resealer: Resealer::new(vault, keys)?,
            previous: previous.map(|previous| PreviousChunks::new(store, vault, keys, previous)),
            list: ListBuilder::new(),
            hash: Sha256::new(),
            uncut: Vec::new(),
            brought: Brought::default(),
        })
    }

    /// Goes on where another writer was [saved](Self::save). Takes as long as it takes to read the list of what is stored.
    ///
    /// # Errors
    /// [`UploadError::Read`]; [`UploadError::Unreadable`].
    pub(crate) fn go_on(
        &mut self,
        (store, vault): (&Store, VaultId),
        (content, content_len): (store::DriveContent, u64),
        unfinished: Unfinished,
    ) -> Result<(), UploadError> {
        let source = VaultSource { store: store.clone(), vault };
        let mut reader = Reader::new(source, Arc::clone(&self.keys), RECENT_BYTES);
        let mut pieces = PieceCursor::new(content_of(from_stored(content)), content_len);
        while let Some(piece) = pieces.next(&mut reader)? {
            let offset = self.list.file_len();
            if let (Some(previous), Piece::Chunk { id, .. }) = (&mut self.previous, &piece)
                && content_len.saturating_sub(offset) <= ANCHORED_LEN
            {
                previous.anchor(id, offset);
            }
            // The pages that this completes are stored.
            self.list.push(&self.keys, piece, &mut |_| ());
        }
        if self.list.file_len() != content_len {
            return Err(UploadError::Unreadable);
        }
        self.hash = unfinished.hash;
        self.uncut = unfinished.uncut;
        Ok(())
    }

    /// What this writer took so far.
    pub(crate) fn brought(&self) -> Brought {
        self.brought
    }

    /// Bytes taken so far.
    pub(crate) fn len(&self) -> u64 {
        self.list.file_len() + self.uncut.len() as u64
    }

    /// Makes everything taken so far durable, as the state of `upload`, for another writer to go on from.
    ///
    /// # Errors
    /// [`UploadError`]: the state is what it was.
    pub(crate) fn save(&mut self, upload: UploadId) -> Result<(), UploadError> {
        let mut pages = Vec::new();
        let content = self.list.clone().finish(&self.keys, &mut |page| pages.push(page));
        self.put_pages(&pages)?;
        let content = to_stored(drive_content(content));
        let sealed_rest = Unfinished::seal((&self.hash, &self.uncut), &self.keys, upload)?;
        let progress = UploadProgress {
            offset: self.len(),
            content,
            content_len: self.list.file_len(),
            sealed_rest: &sealed_rest,
        };
        self.session.save_upload(upload, &progress, clock::now())?;
        Ok(())
    }

    /// Cuts what is left, as at the end of a file.
    ///
    /// # Errors
    /// [`UploadError`]: the file cannot be taken in.
    pub(crate) fn cut_rest(&mut self) -> Result<(), UploadError> {
        while !self.uncut.is_empty() {
            self.cut()?;
        }
        Ok(())
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`UploadError`]: the file cannot be taken in.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<(), UploadError> {
        self.hash.update(bytes);
        self.brought.sent_bytes += bytes.len() as u64;
        let whole_len = self.keys.cutter().params().max_len() as usize;
        while !bytes.is_empty() {
            let (taken, rest) = bytes.split_at(bytes.len().min(whole_len.saturating_sub(self.uncut.len())));
            self.uncut.extend_from_slice(taken);
            bytes = rest;
            if self.uncut.len() == whole_len {
                self.cut()?;
            }
        }
        Ok(())
    }

    /// Completes the file; its session goes on, for the commit that gives it a name.
    ///
    /// # Errors
    /// [`UploadError`]: the file cannot be taken in.
    pub(crate) fn finish(mut self) -> Result<(Uploaded, WriteSession), UploadError> {
        self.cut_rest()?;
        let size = self.list.file_len();
        let mut pages = Vec::new();
        let content = std::mem::take(&mut self.list).finish(&self.keys, &mut |page| pages.push(page));
        self.put_pages(&pages)?;
        let content = drive_content(content);
        let sha256 = self.hash.finalize().into();
        Ok((Uploaded { content, size, sha256, brought: self.brought }, self.session))
    }

    /// Gives the file up; what was stored of it goes with the next garbage.
    pub(crate) fn abandon(self) {
        if let Err(error) = self.session.finish(clock::now()) {
            tracing::debug!(%error, "what was stored of an upload stays until the session's lifetime is over");
        }
    }

    fn cut(&mut self) -> Result<(), UploadError> {
        let len = self.keys.cutter().cut(&self.uncut);
        let bytes = Bytes::copy_from_slice(&self.uncut[..len]);
        self.uncut.drain(..len);
        let chunk = PlainObject::new(&self.keys, Kind::Data, Vec::new(), bytes);
        let offset = self.list.file_len();
        let is_old = self.previous.as_mut().is_some_and(|previous| previous.anchor(&chunk.id, offset));
        let is_held = self.session.held(&[chunk.id])?[0];
        if !is_held {
            let stored = match is_old {
                // It is in the old version, and what is stored of it is damaged.
                true => self.resealer.seal(&chunk)?.into(),
                false => self.reseal(&chunk, offset)?,
            };
            let Stored { supplement, record } = stored;
            self.brought.add(&record);
            for record in supplement.iter().chain([&record]) {
                self.session.put(record, clock::now())?;
            }
        }
        let mut pages = Vec::new();
        let piece = Piece::Chunk { len: len as u64, id: chunk.id };
        self.list.push(&self.keys, piece, &mut |page| pages.push(page));
        self.put_pages(&pages)
    }

    fn reseal(&mut self, chunk: &PlainObject, offset: u64) -> Result<Stored, UploadError> {
        let near = match &mut self.previous {
            Some(previous) => previous.near(offset, chunk.body.len() as u64),
            None => Vec::new(),
        };
        let mut bases = Vec::with_capacity(near.len());
        let mut reader = self.resealer.reader(&mut self.session, &self.cache);
        for id in near {
            match reader.chunk(id) {
                Ok(basis) => bases.push((id, basis)),
                Err(BasisError::Store(error)) if !is_damage(&error) => return Err(error.into()),
                // The chunk can do without it.
                Err(_) => {}
            }
        }
        Ok(self.resealer.reseal(&mut self.session, &self.cache, chunk, &bases, None)?)
    }

    fn put_pages(&mut self, pages: &[PlainObject]) -> Result<(), UploadError> {
        for page in pages {
            if !self.session.held(&[page.id])?[0] {
                let record = self.resealer.seal(page)?;
                self.session.put(&record, clock::now())?;
            }
        }
        Ok(())
    }
}

fn drive_content(content: Content) -> DriveContent {
    match content {
        Content::Empty => DriveContent::Empty,
        Content::Chunk(id) => DriveContent::Chunk(id),
        Content::List(id) => DriveContent::List(id),
    }
}
