//! [`Writing`]: what a session writes, done in the order it was asked for, by a thread of its own. [`Writer`] gives it
//! something to do.
//!
//! It owns the store's session: records are looked at and stored, packs sealed, snapshots and drive changes committed.
//! Whatever ends the connection, what was received is sealed before the session ends, if the disk lets it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use object::{ObjectId, SealedRecord};
use proto::{
    BackupProgress, Commit, Committed, DriveCommitted, DrivePut, DriveRemove, DriveUndelete, Extent, FailCode, Failure,
    HeldAnswer, Ids, ServerReply, StreamId,
};
use store::{IdempotencyKey, StoreError, Traffic, WriteSession};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::admin::affected::StoreSource;
use crate::audit::{self, Actor};
use crate::clock;
use crate::drive::{DriveEditor, DriveError, Metadata, NewVersion};
use crate::ingest::{Brought, Ingest, IngestError, Verdict};
use crate::live::{About, Activity, ActivityKind, Moving, Outlook, TransferKind, name_of};
use crate::reseal::Stored;
use crate::service::Service;
use crate::session::change_rate::{Unusual, unusual_change};
use crate::session::event::Event;
use crate::session::refusal;
use crate::slots::AccountSlot;
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
    DriveUndelete(DriveUndelete),
}

/// The other end of a [`Writing`]. Dropped, it lets that come to its end.
#[derive(Debug)]
pub(super) struct Writer {
    session: proto::SessionId,
    jobs: Sender<Job>,
    outlook: Outlook,
}

/// A session that was begun, ready for its thread.
pub(super) struct NewSession {
    pub(super) vault: Arc<OpenVault>,
    pub(super) session: WriteSession,
    /// The snapshot it began with.
    pub(super) parent: Option<ObjectId>,
    pub(super) ingest: Ingest,
    pub(super) slot: AccountSlot,
    /// Who writes, to the audit log.
    pub(super) actor: Actor,
    /// The same, to who looks on.
    pub(super) moving: Moving,
}

impl Writer {
    /// Both ends for a session; what comes of it goes to `events`.
    pub(super) fn new(service: Arc<Service>, new: NewSession, events: UnboundedSender<Event>) -> (Self, Writing) {
        let session = proto::SessionId::from_bytes(*new.session.id().as_bytes());
        let (jobs, received) = channel();
        let running = Running { session, events: events.clone(), _counted: service.tasks.token(), _slot: new.slot };
        let outlook = new.moving.outlook();
        let worker = Worker {
            seal_interval: service.home.settings.seal_interval,
            service,
            vault: new.vault,
            session: new.session,
            parent: new.parent,
            ingest: new.ingest,
            actor: new.actor,
            moving: new.moving,
            counted: Traffic::default(),
            is_committed: false,
            wire_session: session,
            events,
            received_count: 0,
            unsealed_since: None,
        };
        (Self { session, jobs, outlook }, Writing { worker, jobs: received, _running: running })
    }

    /// The session it writes for.
    pub(super) fn session(&self) -> proto::SessionId {
        self.session
    }

    /// Shows what the client says of how far it is; that waits for nothing.
    pub(super) fn show(&self, said: BackupProgress) {
        self.outlook.say(said);
    }

    /// Gives it something to do; a thread that has ended says so by [`Event::WriterEnded`].
    pub(super) fn give(&self, job: Job) {
        let _ = self.jobs.send(job);
    }
}

/// What a session writes, for whoever does it. The last thing it tells is that it has ended, however it did.
pub(super) struct Writing {
    pub(super) worker: Worker,
    pub(super) jobs: Receiver<Job>,
    // Let go of last.
    _running: Running,
}

impl Writing {
    /// Works until the session is over.
    pub(super) fn run(mut self) {
        loop {
            let job = match self.worker.seal_at() {
                None => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => self.jobs.recv_timeout(at.saturating_duration_since(clock::instant())),
            };
            if self.worker.step(job).is_break() {
                break;
            }
        }
        self.worker.close();
    }
}

/// Tells when the session has ended.
struct Running {
    session: proto::SessionId,
    events: UnboundedSender<Event>,
    _counted: TaskTrackerToken,
    _slot: AccountSlot,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.events.send(Event::WriterEnded(self.session));
    }
}

/// Does it, one job at a time.
pub(super) struct Worker {
    service: Arc<Service>,
    vault: Arc<OpenVault>,
    session: WriteSession,
    parent: Option<ObjectId>,
    ingest: Ingest,
    actor: Actor,
    moving: Moving,
    /// What of a backup that is not committed yet is in the figures: they move while it lasts.
    counted: Traffic,
    /// Whether a snapshot came of it.
    is_committed: bool,
    pub(super) wire_session: proto::SessionId,
    events: UnboundedSender<Event>,
    seal_interval: Duration,
    /// Records of the client that were dealt with: stored or refused.
    pub(super) received_count: u64,
    /// When the first record was stored that is not durable yet.
    unsealed_since: Option<Instant>,
}

impl Worker {
    /// When to seal, whatever else there is to do.
    pub(super) fn seal_at(&self) -> Option<Instant> {
        self.unsealed_since.map(|since| since + self.seal_interval)
    }

    /// Does a job, or what is due when none came in time, or ends when none will come any more.
    pub(super) fn step(&mut self, job: Result<Job, RecvTimeoutError>) -> ControlFlow<()> {
        match job {
            Ok(job) => self.work(job),
            Err(RecvTimeoutError::Timeout) => self.seal(),
            Err(RecvTimeoutError::Disconnected) => ControlFlow::Break(()),
        }
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
        match self.seal_at() {
            Some(at) if clock::instant() >= at => self.seal(),
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
                    self.unsealed_since.get_or_insert_with(clock::instant);
                }
            }
        }
        self.moving.add(taken_len as u64);
        // A file of the drive is counted when it is whole.
        if self.moving.about().kind == TransferKind::Backup {
            self.count(self.brought_so_far());
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
                if let Some(max) = self.service.home.settings.max_file_size.filter(|max| put.size > *max) {
                    let message = format!("this server takes files of at most {max} bytes into its drive");
                    return Err(Failure::new(FailCode::NotAllowed, &message));
                }
                let changed = self.editor().and_then(|mut editor| editor.put(put.key, &new_version(&put)));
                if let Ok(changed) = &changed {
                    self.tell_of_upload(&put, changed);
                }
                self.drive_committed(changed)
            }
            Question::DriveRemove(remove) => {
                let changed = self
                    .editor()
                    .and_then(|mut editor| editor.remove(remove.key, &remove.path, remove.expected_version));
                if changed.as_ref().is_ok_and(|changed| !changed.repeated) {
                    let name = name_of(&remove.path);
                    self.service.feed.push(Activity { name, ..self.activity(ActivityKind::Delete) });
                    self.actor.note(&self.service.home.store, audit::Event::DriveRemoved, "", "");
                }
                self.drive_committed(changed)
            }
            Question::DriveUndelete(undelete) => {
                let changed = self.editor().and_then(|mut editor| editor.undelete(undelete.key, &undelete.path));
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
        // What is looked at has to be readable.
        self.session.flush(clock::now())?;
        let extent = self.extent(commit.snapshot);
        let unusual = self.unusual_change(extent);
        let alarm = unusual.map(|unusual| unusual.to_string());
        let committed =
            self.session.commit_snapshot_with_alarm(key, commit.snapshot, alarm.as_deref(), clock::now())?;
        self.unsealed_since = None;
        self.service.metrics.commits.add(1);
        self.is_committed = true;
        self.tell_of_backup(extent, &committed, alarm.as_deref());
        if let Some(what) = alarm.filter(|_| !committed.repeated) {
            self.service.metrics.unusual_snapshots.add(1);
            tracing::warn!(
                snapshot = %commit.snapshot.short(), %what,
                "a snapshot keeps unusually little of the one before: nothing older of its chain goes before somebody \
                 has looked at the machine and said `backup-server retention confirm-change`"
            );
        }
        Ok(ServerReply::Committed(Committed {
            seq: committed.number,
            server_time_ms: clock::wire_ms(committed.received),
            bytes_stored: committed.stored.bytes,
            objects_stored: committed.stored.objects,
            delta_objects: committed.stored.delta_objects,
            repeated: committed.repeated,
        }))
    }

    /// Whether a snapshot that is stored keeps unusually little of its parent. What cannot be read raises no alarm: it is
    /// told where it is found.
    fn unusual_change(&self, now: Option<Extent>) -> Option<Unusual> {
        let before = self.extent(self.parent?)?;
        unusual_change(before, now?, self.session.stored().bytes)
    }

    /// How much a stored snapshot is of, where that can be read.
    fn extent(&self, snapshot: ObjectId) -> Option<Extent> {
        extent_of(&self.service, &self.vault, snapshot)
    }

    /// Tells who looks on what a backup came to.
    fn tell_of_backup(&mut self, extent: Option<Extent>, committed: &store::Committed, alarm: Option<&str>) {
        let brought = std::mem::take(&mut self.ingest.brought);
        if committed.repeated {
            self.counted = Traffic::default();
            return;
        }
        let source_bytes = extent.map_or(brought.new_bytes, |extent| extent.bytes);
        let files = extent.map(|extent| extent.files);
        let traffic = brought.traffic(source_bytes, committed.stored.bytes);
        self.note(ActivityKind::Backup, traffic, files, alarm.unwrap_or_default());
    }

    /// The same of a file for the drive.
    fn tell_of_upload(&mut self, put: &DrivePut, committed: &store::DriveCommitted) {
        let brought = std::mem::take(&mut self.ingest.brought);
        self.moving.add_file();
        if !committed.repeated {
            let traffic = brought.traffic(put.size, committed.stored.bytes);
            self.service.tally.add(self.moving.about().account, traffic);
            self.service.feed.push(Activity {
                name: name_of(&put.path),
                traffic: Some(traffic),
                files: Some(1),
                ..self.activity(ActivityKind::Upload)
            });
        }
    }

    /// The same of a session that ends without a snapshot.
    fn tell_of_end(&mut self) {
        if self.is_committed || self.received_count == 0 {
            return;
        }
        let traffic = self.brought_so_far();
        self.ingest.brought = Brought::default();
        match self.moving.about().kind {
            TransferKind::Backup => {
                let detail = "the connection ended first; what came is kept for the next try";
                self.note(ActivityKind::BackupCutOff, traffic, None, detail);
            }
            _ => self.service.tally.add(self.moving.about().account, traffic),
        }
    }

    /// What a backup came to until now; what of its files was here already is known when it is committed.
    fn brought_so_far(&self) -> Traffic {
        let brought = self.ingest.brought;
        brought.traffic(brought.new_bytes, self.session.stored().bytes)
    }

    /// Adds what a backup came to, as far as that is not in the figures yet.
    fn count(&mut self, traffic: Traffic) {
        self.service.tally.add(self.moving.about().account, traffic.beyond(self.counted));
        self.counted = traffic;
    }

    /// Tells what a backup came to.
    fn note(&mut self, kind: ActivityKind, traffic: Traffic, files: Option<u64>, detail: &str) {
        self.count(traffic);
        self.counted = Traffic::default();
        let duration_ms = u64::try_from(self.moving.elapsed().as_millis()).ok();
        let (detail, traffic) = (detail.to_owned(), Some(traffic));
        self.service.feed.push(Activity { traffic, files, detail, duration_ms, ..self.activity(kind) });
    }

    fn activity(&self, kind: ActivityKind) -> Activity {
        let About { account, account_name, device, name, .. } = self.moving.about().clone();
        let of_server = Activity::of_server(kind, String::new());
        Activity { account: Some((account, account_name)), device, name, ..of_server }
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

    /// Ends the session: what was received is sealed, if the disk lets it.
    pub(super) fn close(mut self) {
        // Where this fails, closing tells why.
        let _ = self.session.flush(clock::now());
        self.tell_of_end();
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

/// How much a stored snapshot is of, where that can be read.
pub(super) fn extent_of(service: &Service, vault: &OpenVault, snapshot: ObjectId) -> Option<Extent> {
    let managed = vault.managed()?;
    let mut reader = StoreSource::reader(&service.home.store, vault.id, Arc::clone(&managed.keys));
    let snapshot = vault::Snapshot::decode(&reader.object(snapshot).ok()?).ok()?;
    Some(Extent { files: snapshot.files, bytes: snapshot.bytes })
}

fn new_version(put: &DrivePut) -> NewVersion {
    NewVersion {
        path: put.path.clone(),
        content: put.content,
        size: put.size,
        metadata: Metadata { mtime: Some(put.mtime), mode: put.mode, sha256: None },
        expected_version: put.expected_version,
    }
}
