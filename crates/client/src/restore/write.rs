//! [`Writer`]: writes what is [`Ready`]; of large files it fetches the chunks, too. One per thread.

use std::sync::Arc;

use host_fs::Name;
use object::ObjectId;
use vault::Reader;

use super::gather::{Chunk, Ready, chunks};
use super::guards::{FileGuard, finish_file};
use super::links::Links;
use super::sink::Sink;
use super::walk::{PlacedChunk, SmallFile};
use crate::error::ClientError;
use crate::line::Line;

/// Opened chunks that are kept, for a file that repeats itself.
const RECENT_BYTES: usize = 2 << 20;

pub(crate) struct Writer {
    reader: Reader<Line>,
    links: Arc<Links>,
    sink: Arc<Sink>,
}

impl Writer {
    pub(crate) fn new(line: &Line, links: Arc<Links>, sink: Arc<Sink>) -> Self {
        Self { reader: Reader::new(line.clone(), Arc::clone(line.keys()), RECENT_BYTES), links, sink }
    }

    /// Writes until there is nothing more to write.
    pub(crate) fn run(&mut self, ready: &crossbeam_channel::Receiver<Ready>) -> Result<(), ClientError> {
        for ready in ready {
            if self.sink.has_failed() {
                return Err(ClientError::Stopped);
            }
            match ready {
                Ready::Files(files) => self.files(files),
                Ready::Window { file, chunks } => self.window(&file, &chunks)?,
            }
        }
        Ok(())
    }

    fn files(&self, files: Vec<(SmallFile, Chunk)>) {
        for (SmallFile { directory, name, size, metadata, .. }, chunk) in files {
            let checked = Name::new(&name).expect("trees hold only names");
            let written = match chunk {
                Ok(bytes) if bytes.len() as u64 == size => {
                    directory.dir.write_file(checked, &bytes, &metadata).map_err(|error| self.sink.host_problem(&error))
                }
                Ok(bytes) => {
                    self.sink.damaged(&directory.path_of(&name), &wrong_len(size, bytes.len()));
                    Err(())
                }
                Err(error) => {
                    self.sink.damaged(&directory.path_of(&name), &error);
                    Err(())
                }
            };
            finish_file(written.ok(), &metadata, size, &self.links, &self.sink);
        }
    }

    fn window(&mut self, file: &FileGuard, placed: &[PlacedChunk]) -> Result<(), ClientError> {
        let ids: Vec<ObjectId> = placed.iter().map(|chunk| chunk.id).collect();
        let chunks = chunks(&mut self.reader, &ids, &[])?;
        for (place, chunk) in placed.iter().zip(chunks) {
            match chunk {
                Ok(bytes) if bytes.len() as u64 == place.len => {
                    if let Err(error) = file.file().write_at(place.offset, &bytes) {
                        file.lose();
                        self.sink.host_problem(&error);
                        return Ok(());
                    }
                }
                Ok(bytes) => {
                    file.lose();
                    self.sink.damaged(&file.path(), &wrong_len(place.len, bytes.len()));
                }
                Err(error) => {
                    file.lose();
                    self.sink.damaged(&file.path(), &error);
                }
            }
        }
        Ok(())
    }
}

fn wrong_len(expected: u64, found: usize) -> std::io::Error {
    std::io::Error::other(format!("a chunk of {expected} bytes has {found}"))
}
