//! [`Writer`]: fetches what a [`Task`] needs, checks it and writes it. One per thread.

use std::sync::Arc;

use bytes::Bytes;
use host_fs::Name;
use object::ObjectId;
use vault::{ReadError, Reader};

use super::guards::{FileGuard, finish_file};
use super::links::Links;
use super::sink::Sink;
use super::walk::{PlacedChunk, SmallFile, Task};
use crate::error::ClientError;
use crate::line::Line;

/// Opened chunks that are kept: the bases of one task's deltas are often those of the next.
const RECENT_BYTES: usize = 12 << 20;

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
    pub(crate) fn run(&mut self, tasks: &crossbeam_channel::Receiver<Task>) -> Result<(), ClientError> {
        for task in tasks {
            if self.sink.has_failed() {
                return Err(ClientError::Stopped);
            }
            match task {
                Task::Files(files) => self.files(&files)?,
                Task::Window { file, chunks } => self.window(&file, &chunks)?,
            }
        }
        Ok(())
    }

    fn files(&mut self, files: &[SmallFile]) -> Result<(), ClientError> {
        let ids: Vec<ObjectId> = files.iter().map(|file| file.chunk).collect();
        let chunks = self.chunks(&ids)?;
        for (file, chunk) in files.iter().zip(chunks) {
            let SmallFile { directory, name, size, metadata, .. } = file;
            let checked = Name::new(name).expect("trees hold only names");
            let written = match chunk {
                Ok(bytes) if bytes.len() as u64 == *size => {
                    directory.dir.write_file(checked, &bytes, metadata).map_err(|error| self.sink.host_problem(&error))
                }
                Ok(bytes) => {
                    self.sink.damaged(&directory.path_of(name), &wrong_len(*size, bytes.len()));
                    Err(())
                }
                Err(error) => {
                    self.sink.damaged(&directory.path_of(name), &error);
                    Err(())
                }
            };
            finish_file(written.ok(), metadata, *size, &self.links, &self.sink);
        }
        Ok(())
    }

    fn window(&mut self, file: &FileGuard, placed: &[PlacedChunk]) -> Result<(), ClientError> {
        let ids: Vec<ObjectId> = placed.iter().map(|chunk| chunk.id).collect();
        let chunks = self.chunks(&ids)?;
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

    /// The chunks, each on its own if one of them is damaged: the others are restored all the same.
    fn chunks(&mut self, ids: &[ObjectId]) -> Result<Vec<Result<Bytes, ReadError<ClientError>>>, ClientError> {
        match self.reader.objects(ids) {
            Ok(objects) => return Ok(objects.into_iter().map(|object| Ok(object.body)).collect()),
            Err(ReadError::Source(error)) => return Err(error),
            Err(_) => {}
        }
        let mut chunks = Vec::with_capacity(ids.len());
        for id in ids {
            chunks.push(match self.reader.object(*id) {
                Err(ReadError::Source(error)) => return Err(error),
                object => object.map(|object| object.body),
            });
        }
        Ok(chunks)
    }
}

fn wrong_len(expected: u64, found: usize) -> std::io::Error {
    std::io::Error::other(format!("a chunk of {expected} bytes has {found}"))
}
