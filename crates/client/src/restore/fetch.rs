//! [`Fetch`]: fetches the records of small files, so that they are here when they are to be opened. One thread.
//!
//! Small files are sealed many to a record. Each record is fetched once, wherever batches begin and end; the chunks of large
//! files have records of their own and are left to the writers.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use object::{ObjectId, SealedRecord};
use vault::ObjectSource;

use super::guards::FileGuard;
use super::sink::Sink;
use super::walk::{PlacedChunk, SmallFile, Task};
use crate::error::ClientError;
use crate::line::Line;

/// Plain bytes of the records fetched last, of which the opened objects are still there when the next batch is opened:
/// less than [`Gather`](super::gather::Gather) keeps.
const RECENT_BYTES: usize = 8 << 20;

/// Something to be opened, or left to the writers.
pub(crate) enum Fetched {
    /// Files, and the records of those that were not in earlier ones. What is missing is asked for once more, alone.
    Files { files: Vec<SmallFile>, records: Vec<SealedRecord> },
    /// Chunks of one file.
    Window { file: Arc<FileGuard>, chunks: Vec<PlacedChunk> },
}

pub(crate) struct Fetch {
    line: Line,
    recent: Recent,
    fetched: Sender<Fetched>,
    sink: Arc<Sink>,
}

impl Fetch {
    pub(crate) fn new(line: &Line, fetched: Sender<Fetched>, sink: Arc<Sink>) -> Self {
        Self { line: line.clone(), recent: Recent::default(), fetched, sink }
    }

    /// Fetches until there is nothing more.
    pub(crate) fn run(&mut self, tasks: &Receiver<Task>) -> Result<(), ClientError> {
        for task in tasks {
            if self.sink.has_failed() {
                return Err(ClientError::Stopped);
            }
            let fetched = match task {
                Task::Files(files) => {
                    let records = self.records_of(&files)?;
                    Fetched::Files { files, records }
                }
                Task::Window { file, chunks } => Fetched::Window { file, chunks },
            };
            self.fetched.send(fetched).map_err(|_| ClientError::Stopped)?;
        }
        Ok(())
    }

    fn records_of(&mut self, files: &[SmallFile]) -> Result<Vec<SealedRecord>, ClientError> {
        let mut wanted: Vec<ObjectId> =
            files.iter().map(|file| file.chunk).filter(|id| !self.recent.ids.contains(id)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let records = self.line.fetch(&wanted)?;
        for record in &records {
            self.recent.add(record);
        }
        Ok(records)
    }
}

/// What was in the records fetched last.
#[derive(Default)]
struct Recent {
    ids: HashSet<ObjectId>,
    /// The oldest first.
    records: VecDeque<(Vec<ObjectId>, usize)>,
    plain_len: usize,
}

impl Recent {
    fn add(&mut self, record: &SealedRecord) {
        let head = record.view().head();
        let ids: Vec<ObjectId> = head.members().map(|member| member.id).collect();
        self.ids.extend(&ids);
        self.plain_len += head.plain_len();
        self.records.push_back((ids, head.plain_len()));
        while self.plain_len > RECENT_BYTES {
            let Some((ids, plain_len)) = self.records.pop_front() else { break };
            for id in ids {
                self.ids.remove(&id);
            }
            self.plain_len -= plain_len;
        }
    }
}
