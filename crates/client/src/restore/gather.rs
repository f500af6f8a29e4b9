//! [`Gather`]: opens the content of small files, in the order of the walk; each record once. One thread.

use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use object::{ObjectId, SealedRecord};
use vault::{PlainObject, ReadError, Reader};

use super::fetch::Fetched;
use super::guards::FileGuard;
use super::sink::Sink;
use super::walk::{PlacedChunk, SmallFile};
use crate::error::ClientError;
use crate::line::Line;

/// Opened chunks that are kept: of the last record mostly, which the next batch goes on with.
const RECENT_BYTES: usize = 12 << 20;

/// A chunk, or why it cannot be had.
pub(crate) type Chunk = Result<Bytes, ReadError<ClientError>>;

/// Something to be written.
pub(crate) enum Ready {
    /// Files with their content.
    Files(Vec<(SmallFile, Chunk)>),
    /// Chunks of one file, still to be fetched.
    Window { file: Arc<FileGuard>, chunks: Vec<PlacedChunk> },
}

pub(crate) struct Gather {
    reader: Reader<Line>,
    ready: Sender<Ready>,
    sink: Arc<Sink>,
}

impl Gather {
    pub(crate) fn new(line: &Line, ready: Sender<Ready>, sink: Arc<Sink>) -> Self {
        Self { reader: Reader::new(line.clone(), Arc::clone(line.keys()), RECENT_BYTES), ready, sink }
    }

    /// Gathers until there is nothing more.
    pub(crate) fn run(&mut self, fetched: &Receiver<Fetched>) -> Result<(), ClientError> {
        for fetched in fetched {
            if self.sink.has_failed() {
                return Err(ClientError::Stopped);
            }
            let ready = match fetched {
                Fetched::Files { files, records } => {
                    let ids: Vec<ObjectId> = files.iter().map(|file| file.chunk).collect();
                    Ready::Files(files.into_iter().zip(chunks(&mut self.reader, &ids, &records)?).collect())
                }
                Fetched::Window { file, chunks } => Ready::Window { file, chunks },
            };
            self.ready.send(ready).map_err(|_| ClientError::Stopped)?;
        }
        Ok(())
    }
}

/// The chunks, from these records as far as they are in them; each on its own if one of them is damaged: the others are
/// restored all the same.
pub(crate) fn chunks(
    reader: &mut Reader<Line>,
    ids: &[ObjectId],
    records: &[SealedRecord],
) -> Result<Vec<Chunk>, ClientError> {
    match reader.objects_with(ids, records) {
        Ok(objects) => return Ok(objects.into_iter().map(PlainObject::into_chunk).collect()),
        Err(ReadError::Source(error)) => return Err(error),
        Err(_) => {}
    }
    let mut chunks = Vec::with_capacity(ids.len());
    for id in ids {
        chunks.push(match reader.object(*id) {
            Err(ReadError::Source(error)) => return Err(error),
            object => object.and_then(PlainObject::into_chunk),
        });
    }
    Ok(chunks)
}
