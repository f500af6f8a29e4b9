//! [`Writer`]: the thread that does what a session writes, in the order it was asked for.
//!
//! It owns the store's session: records are looked at and stored, packs sealed, snapshots and drive changes committed.
//! Whatever ends the connection, what was received is sealed before the thread ends, if the disk lets it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use object::{ObjectId, SealedRecord};
use proto::{
    Commit, Committed, DriveCommitted, DrivePut, DriveRemove, FailCode, Failure, HeldAnswer, Ids, ServerReply, StreamId,
};
use store::{IdempotencyKey, StoreError, WriteSession};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::clock;
use crate::ingest::{Ingest, IngestError, Stored, Verdict};
use crate::service::{Service, SessionSlot};
use crate::session::drive::{DriveEditor, DriveError};
use crate::session::event::Event;
use crate::session::refusal;
use crate::vaults::OpenVault;

/// Something for the thread to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Store these.
    Store(Vec<SealedRecord>),
    /// Answer this, after all that came before.
    Answer(StreamId, Question),
    /// Make safe what is held, then end.
    Stop,
}

/// Something that is answered in the order of writing.
#[derive(Debug)]
pub(super) enum Question {
    Held(Ids),
    Flush,
    Commit(Commit),
    DrivePut(DrivePut),
    DriveRemove(DriveRemove),
}

/// The other threads' end of it. Dropped, it lets the thread come to its end.
#[derive(Debug)]
pub(super) struct Writer {
    session: proto::SessionId,
    jobs: Sender<Job>,
}

/// A session that was begun, ready for its thread.
pub(super) struct NewSession {
    pub(super) vault: Arc<OpenVault>,
    pub(super) session: WriteSession,
    pub(super) ingest: Ingest,
    pub(super) slot: SessionSlot,
}

impl Writer {
    /// Starts the thread; what it has to say goes to `events`.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(
        service: Arc<Service>,
        new: NewSession,
        events: UnboundedSender<Event>,
    ) -> std::io::Result<Self> {
        let session = proto::SessionId::from_bytes(*new.session.id().as_bytes());
        let (jobs, received) = channel();
        let running = Running { session, events: events.clone(), _counted: service.tasks.token(), _slot: new.slot };
        let worker = Worker {
            seal_interval: service.home.settings.seal_interval,
            service,
            vault: new.vault,
            session: new.session,
            ingest: new.ingest,
            wire_session: session,
            events,
            received_count: 0,
            unsealed_since: None,
        };
        std::thread::Builder::new().name("session".to_owned()).spawn(move || {
            worker.run(&received);
            drop(running);
        })?;
        Ok(Self { session, jobs })
    }

    /// The session it writes for.
    pub(super) fn session(&self) -> proto::SessionId {
        self.session
    }

    /// Gives it something to do; a thread that has ended says so by [`Event::WriterEnded`].
    pub(super) fn give(&self, job: Job) {
        let _ = self.jobs.send(job);
    }
}

/// Tells when the thread has ended, however it did.
struct Running {
    session: proto::SessionId,
    events: UnboundedSender<Event>,
    _counted: TaskTrackerToken,
    _slot: SessionSlot,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.events.send(Event::WriterEnded(self.session));
    }
}

struct Worker {
    service: Arc<Service>,
    vault: Arc<OpenVault>,
    session: WriteSession,
    ingest: Ingest,
    wire_session: proto::SessionId,
    events: UnboundedSender<Event>,
    seal_interval: Duration,
    /// Records of the client that were dealt with: stored or refused.
    received_count: u64,
    /// When the first record was stored that is not durable yet.
    unsealed_since: Option<Instant>,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let job = match self.unsealed_since {
                None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => jobs.recv_timeout(self.seal_interval.saturating_sub(since.elapsed())),
            };
            let step = match job {
                Ok(job) => self.work(job),
                Err(RecvTimeoutError::Timeout) => self.seal(),
                Err(RecvTimeoutError::Disconnected) => ControlFlow::Break(()),
            };
            if step.is_break() {
                break;
            }
        }
        self.close();
    }

    fn work(&mut self, job: Job) -> ControlFlow<()> {
        match job {
            Job::Store(records) => self.store(records)?,
            Job::Answer(stream, question) => return self.answer(stream, question),
            Job::Stop => {
                self.seal()?;
                return ControlFlow::Break(());
            }
        }
        // Steady traffic leaves no pause in which a timer could run out.
        match self.unsealed_since {
            Some(since) if since.elapsed() >= self.seal_interval => self.seal(),
            _ => ControlFlow::Continue(()),
        }
    }

    fn store(&mut self, records: Vec<SealedRecord>) -> ControlFlow<()> {
        let mut refused: Vec<ObjectId> = Vec::new();
        let mut durable = None;
        let mut taken_len = 0;
        for record in records {
            taken_len += record.bytes().len();
            let taken = self.ingest.take(&mut self.session, record).and_then(|verdict| match verdict {
                Verdict::Store(Stored { supplement, record }) => {
                    for record in supplement.iter().chain([&record]) {
                        self.session.put(record, clock::now())?;
                    }
                    Ok(None)
                }
                Verdict::Refuse(id) => Ok(Some(id)),
            });
            self.received_count += 1;
            match taken {
                Err(error) => return self.fail(&error),
                Ok(Some(id)) => refused.push(id),
                // A pack was full, and sealing it left nothing open.
                Ok(None) if self.session.durable_count() == self.session.put_count() => {
                    durable = Some(self.received_count);
                    self.unsealed_since = None;
                }
                Ok(None) => {
                    self.unsealed_since.get_or_insert_with(Instant::now);
                }
            }
        }
        self.tell(Event::Taken(taken_len));
        if !refused.is_empty() {
            self.tell(Event::Refused(self.wire_session, refused.iter().collect()));
        }
        if let Some(record_count) = durable {
            self.tell(Event::Durable(self.wire_session, record_count));
        }
        ControlFlow::Continue(())
    }

    /// Makes durable what is not.
    fn seal(&mut self) -> ControlFlow<()> {
        self.unsealed_since = None;
        match self.session.flush(clock::now()) {
            Ok(_) => {
                self.tell(Event::Durable(self.wire_session, self.received_count));
                ControlFlow::Continue(())
            }
            Err(error) => self.fail(&error.into()),
        }
    }

    fn answer(&mut self, stream: StreamId, question: Question) -> ControlFlow<()> {
        let is_commit = matches!(question, Question::Commit(_));
        let answer = self.reply(question);
        let is_over = is_commit && answer.is_ok();
        self.tell(Event::answer(stream, answer));
        if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn reply(&mut self, question: Question) -> Result<ServerReply, Failure> {
        match question {
            Question::Held(ids) => {
                let ids: Vec<ObjectId> = ids.iter().collect();
                let held = self.session.held(&ids).map_err(|error| self.refuse("looking for objects", &error))?;
                Ok(ServerReply::HeldAnswer(held.into_iter().collect::<HeldAnswer>()))
            }
            Question::Flush => {
                self.session.flush(clock::now()).map_err(|error| self.refuse("sealing packs", &error))?;
                self.unsealed_since = None;
                Ok(ServerReply::Flushed(self.received_count))
            }
            Question::Commit(commit) => {
                self.commit(commit).map_err(|error| self.refuse("committing a snapshot", &error))
            }
            Question::DrivePut(put) => {
                let changed = self.editor().and_then(|mut editor| editor.put(&put));
                self.drive_committed(changed)
            }
            Question::DriveRemove(remove) => {
                let changed = self.editor().and_then(|mut editor| editor.remove(&remove));
                self.drive_committed(changed)
            }
        }
    }

    fn refuse(&self, doing: &'static str, error: &StoreError) -> Failure {
        self.service.note(error);
        refusal::of_store(doing, error)
    }

    fn commit(&mut self, commit: Commit) -> Result<ServerReply, StoreError> {
        let key = IdempotencyKey::from_bytes(*commit.key.as_bytes());
        let committed = self.session.commit_snapshot(key, commit.snapshot, clock::now())?;
        self.unsealed_since = None;
        self.service.metrics.commits.add(1);
        Ok(ServerReply::Committed(Committed {
            seq: committed.number,
            server_time_ms: clock::wire_ms(committed.received),
            bytes_stored: committed.stored.bytes,
            objects_stored: committed.stored.objects,
            delta_objects: committed.stored.delta_objects,
            repeated: committed.repeated,
        }))
    }

    fn editor(&mut self) -> Result<DriveEditor<'_>, DriveError> {
        let managed = self.vault.managed().ok_or(DriveError::Sealed)?;
        Ok(DriveEditor::new(&self.service.home.store, &mut self.session, self.vault.id, managed))
    }

    fn drive_committed(&mut self, changed: Result<store::DriveCommitted, DriveError>) -> Result<ServerReply, Failure> {
        let committed = changed.map_err(|error| {
            if let DriveError::Store(error) = &error {
                self.service.note(error);
            }
            refusal::of_drive(&error)
        })?;
        self.unsealed_since = None;
        self.service.metrics.commits.add(1);
        Ok(ServerReply::DriveCommitted(DriveCommitted {
            version: committed.versions.last().copied().unwrap_or_default(),
            server_time_ms: clock::wire_ms(committed.received),
            bytes_stored: committed.stored.bytes,
            objects_stored: committed.stored.objects,
            delta_objects: committed.stored.delta_objects,
        }))
    }

    /// The session cannot go on; the connection is told why.
    fn fail(&mut self, error: &IngestError) -> ControlFlow<()> {
        let failure = match error {
            IngestError::Mismatch(reason) => {
                tracing::error!(session = %self.wire_session, %reason, "a record is not what its ids promise");
                Failure::new(
                    FailCode::Integrity,
                    "a record's content is not what its ids promise: check the client machine's memory",
                )
            }
            IngestError::Store(StoreError::Record(reason)) => {
                self.service.metrics.hash_mismatches.add(1);
                tracing::error!(session = %self.wire_session, %reason, "a record was damaged on its way");
                Failure::new(FailCode::Integrity, "a record was damaged on its way")
            }
            IngestError::Store(error) => {
                if !matches!(error, StoreError::Full { .. }) {
                    self.service.metrics.poisoned_sessions.add(1);
                }
                self.service.note(error);
                refusal::of_store("storing records", error)
            }
            IngestError::Seal(_) | IngestError::Random(_) => refusal::internal("sealing a chunk", error),
        };
        self.tell(Event::Broken(failure));
        ControlFlow::Break(())
    }

    fn close(self) {
        if let Err(error) = self.session.close(clock::now()) {
            self.service.note(&error);
            tracing::warn!(session = %self.wire_session, %error, "a session could not be closed; what was not durable is lost");
        }
    }

    fn tell(&self, event: Event) {
        // A connection that is gone has nobody to be told.
        let _ = self.events.send(event);
    }
}
