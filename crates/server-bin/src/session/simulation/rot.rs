//! [`Quiet`]: what is left of a history when all is quiet. Then it rots: bits flip, sectors hold what belongs elsewhere, some
//! cannot be read any more. Nobody gets wrong bytes, what is lost is named, and the next backup brings it back.

use std::path::PathBuf;
use std::sync::Arc;

use object::{ObjectId, VaultId};
use store::{DeviceId, IdempotencyKey, PackChoice, Purpose, Store, UnixMs};
use testkit::disk::SimDisk;
use testkit::tree::Random;
use vault::{CompressionLevel, Keys, Sealer, Timestamp};

use super::files::Files;
use super::oracle::{Oracle, list};
use crate::admin::affected::StoreSource;

const SECTOR_LEN: usize = 512;

/// A store that nobody uses any more, and what is known of it.
pub(super) struct Quiet {
    pub(super) store: Store,
    pub(super) vault: VaultId,
    pub(super) device: DeviceId,
    pub(super) keys: Arc<Keys>,
    pub(super) disk: SimDisk,
    pub(super) oracle: Oracle,
    pub(super) random: Random,
    pub(super) now: UnixMs,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rot {
    /// Packs that were hit.
    pub(super) hits: u64,
    /// Snapshots that could not be restored any more.
    pub(super) broken: u64,
    /// Of those the ones that could be after the next backup.
    pub(super) healed: u64,
}

impl Rot {
    pub(super) fn add(&mut self, other: Self) {
        self.hits += other.hits;
        self.broken += other.broken;
        self.healed += other.healed;
    }
}

impl Quiet {
    /// Lets some of it rot, and looks at what is left, before and after the next backup.
    pub(super) fn rot(mut self) -> Rot {
        let mut rot = Rot::default();
        for _ in 0..1 + self.random.index(3) {
            rot.hits += u64::from(self.hit());
        }
        let broken = self.broken();
        rot.broken = broken.len() as u64;
        let unsound = self.verify();
        assert!(broken.is_empty() || unsound > 0, "snapshots cannot be restored, and verify finds nothing");
        let incomplete = self.store.incomplete_snapshots(self.vault).expect("a catalog can be read");
        for snapshot in &broken {
            assert!(incomplete.iter().any(|named| named.id == *snapshot), "snapshot {snapshot} is lost and not named");
        }
        self.back_up_all();
        let still = self.broken();
        for snapshot in &still {
            // Nobody sends an old snapshot's own object again; all that it refers to is there.
            let is_held = self.store.held(self.vault, &[*snapshot]).expect("a catalog can be read")[0];
            assert!(!is_held && broken.contains(snapshot), "snapshot {snapshot} did not come back");
            assert!(self.store.read(self.vault, snapshot).is_err(), "snapshot {snapshot} lost something else");
        }
        rot.healed = rot.broken - still.len() as u64;
        rot
    }

    /// One pack is not what it was; whether there was one.
    fn hit(&mut self) -> bool {
        let is_pack = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "pack");
        let packs: Vec<PathBuf> = self.disk.files().into_iter().filter(is_pack).collect();
        if packs.is_empty() {
            return false;
        }
        let (victim, other) = (self.random.pick(&packs).clone(), self.random.pick(&packs).clone());
        let len = self.disk.contents(&victim).len();
        let at = self.random.index(len);
        match self.random.below(4) {
            0 => {
                let bit = 1 << self.random.below(8);
                self.disk.damage(&victim, |bytes| bytes[at] ^= bit);
            }
            1 => {
                // A write that was meant for another place.
                let bytes = self.disk.contents(&other);
                let from = self.random.index(bytes.len()) / SECTOR_LEN * SECTOR_LEN;
                let sector = bytes[from..bytes.len().min(from + SECTOR_LEN)].to_vec();
                let at = at / SECTOR_LEN * SECTOR_LEN;
                self.disk.damage(&victim, |bytes| {
                    let end = bytes.len().min(at + sector.len());
                    bytes[at..end].copy_from_slice(&sector[..end - at]);
                });
            }
            2 => self.disk.fail_reads(&victim, at as u64..(at + SECTOR_LEN) as u64, u64::MAX),
            _ => self.disk.damage(&victim, |bytes| bytes.truncate(at)),
        }
        true
    }

    /// Snapshots that cannot be restored. What can be is as it was.
    fn broken(&self) -> Vec<ObjectId> {
        let listed = [false, true].into_iter().flat_map(|trash| list(&self.store, self.vault, trash));
        let mut broken = Vec::new();
        for snapshot in listed {
            let mut reader = StoreSource::reader(&self.store, self.vault, Arc::clone(&self.keys));
            match Files::read(&mut reader, snapshot.id) {
                Ok(files) => assert!(
                    self.oracle.knows(&snapshot.id).is_none_or(|known| files == *known),
                    "snapshot {} restores as something else",
                    snapshot.id
                ),
                Err(_) => broken.push(snapshot.id),
            }
        }
        broken
    }

    /// Reads all packs; how many are damaged.
    fn verify(&self) -> usize {
        let counts = self.store.index_counts().expect("a catalog can be read");
        let packs = self.store.packs_to_verify(PackChoice::All, u64::MAX >> 1).expect("a catalog can be read");
        let verify = |pack| self.store.verify_pack(pack, Some(&counts), self.now, &mut |_| {});
        let reports = packs.into_iter().map(|(pack, _)| verify(pack).expect("damage is no error"));
        reports.flatten().filter(|report| !report.is_sound()).count()
    }

    /// Backs up again whatever was backed up before: what is not held is put.
    fn back_up_all(&mut self) {
        let everything: Vec<Files> = self.oracle.all_files().cloned().collect();
        for (number, files) in everything.iter().enumerate() {
            let (chain, started) = (format!("again {number}"), Timestamp { secs: 1, nanos: 0 });
            let planned = files.plan(&self.keys, None, started, &chain);
            let purpose = Purpose::Backup { device: self.device, chain: &chain, parent_hint: None };
            let (mut session, _) = self.store.begin(self.vault, &purpose, self.now).expect("nothing is in the way");
            let salt = *self.random.bytes(16).first_chunk().expect("16 bytes were asked for");
            let mut sealer = Sealer::new(&self.keys, salt, CompressionLevel::DEFAULT);
            let ids: Vec<ObjectId> = planned.iter().map(|planned| planned.object.id).collect();
            let held = session.held(&ids).expect("a catalog can be read");
            for (planned, _) in planned.iter().zip(held).filter(|(_, held)| !held) {
                let record = sealer.seal(std::slice::from_ref(&planned.object)).expect("it is small");
                session.put(&record, self.now).expect("there is room");
            }
            let key = IdempotencyKey::from_bytes(*self.random.bytes(16).first_chunk().expect("as many"));
            let snapshot = *ids.last().expect("the snapshot is the last");
            session.commit_snapshot(key, snapshot, self.now).expect("nothing is missing");
            session.close(self.now).expect("nothing is in the way");
            let mut reader = StoreSource::reader(&self.store, self.vault, Arc::clone(&self.keys));
            let read = Files::read(&mut reader, snapshot).expect("it was just put");
            assert!(read == *files, "a new snapshot restores as something else");
        }
    }
}
