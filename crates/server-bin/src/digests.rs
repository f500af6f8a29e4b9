//! [`Digests`]: SHA-256 of files of which nobody has told it. Read through when somebody asks, a few at a time and only as long
//! as somebody goes on asking, and kept in memory until the server stops: a content has one for ever, whatever its names.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use object::{ObjectId, VaultId};
use proto::DriveContent;
use sha2::{Digest, Sha256};

use crate::drive::{FileVersion, RangeReader};
use crate::service::Service;
use crate::vaults::OpenVault;

/// Files that are read through at a time; the others wait their turn.
const AT_ONCE: usize = 2;
/// Digests that are kept; the oldest goes.
const KEPT: usize = 4096;
/// A file for whose digest nobody asked for so long is not read on.
const PATIENCE: Duration = Duration::from_secs(30);

/// The same bytes in the same vault.
type Key = (VaultId, ObjectId);

/// What is known of the digest of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is this.
    Digest([u8; 32]),
    /// So many bytes are read; whoever wants it asks again.
    Going(u64),
    /// The file cannot be read to its end.
    Broken,
}

/// Digests that are known, and that are being found out.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    done: HashMap<Key, [u8; 32]>,
    /// Keys of `done`, the oldest first.
    order: VecDeque<Key>,
    going: HashMap<Key, Going>,
}

#[derive(Debug)]
struct Going {
    read_bytes: Arc<AtomicU64>,
    asked: Instant,
    is_broken: bool,
}

/// Whose turn it is.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// Nothing is to be done.
    Known(Known),
    /// Whoever asked begins.
    Begins,
}

impl Digests {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known, and whether to begin.
    fn ask(&self, key: Key, now: Instant) -> Turn {
        let mut kept = self.lock();
        if let Some(digest) = kept.done.get(&key) {
            return Turn::Known(Known::Digest(*digest));
        }
        let at_work = kept.going.values().filter(|going| !going.is_broken).count();
        match kept.going.get_mut(&key) {
            // Told once: who asks again has it tried again.
            Some(going) if going.is_broken => {
                kept.going.remove(&key);
                Turn::Known(Known::Broken)
            }
            Some(going) => {
                going.asked = now;
                Turn::Known(Known::Going(going.read_bytes.load(Ordering::Relaxed)))
            }
            None if at_work >= AT_ONCE => Turn::Known(Known::Going(0)),
            None => {
                // Failures of which nobody was told.
                kept.going.retain(|_, going| !going.is_broken || now.saturating_duration_since(going.asked) < PATIENCE);
                kept.going.insert(key, Going { read_bytes: Arc::default(), asked: now, is_broken: false });
                Turn::Begins
            }
        }
    }

    /// Counts what was read; whether to go on.
    fn go_on(&self, key: Key, len: usize, now: Instant) -> bool {
        self.lock().going.get(&key).is_some_and(|going| {
            going.read_bytes.fetch_add(len as u64, Ordering::Relaxed);
            now.saturating_duration_since(going.asked) < PATIENCE
        })
    }

    /// The file was read to its end, or could not be; `None` where nobody waits any more.
    fn end(&self, key: Key, outcome: Option<Result<[u8; 32], ()>>) {
        let mut kept = self.lock();
        match outcome {
            Some(Err(())) => {
                if let Some(going) = kept.going.get_mut(&key) {
                    going.is_broken = true;
                }
                return;
            }
            Some(Ok(digest)) => {
                if kept.done.insert(key, digest).is_none() {
                    kept.order.push_back(key);
                }
                while kept.order.len() > KEPT {
                    let oldest = kept.order.pop_front().expect("there are more than none");
                    kept.done.remove(&oldest);
                }
            }
            None => {}
        }
        kept.going.remove(&key);
    }
}

/// What is known of a file's digest; where that is nothing, the file is read from now on, or as soon as others are done.
pub(crate) fn ask(service: &Arc<Service>, vault: &Arc<OpenVault>, file: &FileVersion) -> Known {
    let id = match file.content {
        _ if file.sha256.is_some() => return Known::Digest(file.sha256.expect("looked at just now")),
        DriveContent::Empty => return Known::Digest(Sha256::digest([]).into()),
        DriveContent::Chunk(id) | DriveContent::List(id) => id,
    };
    let key = (vault.id, id);
    match service.digests.ask(key, Instant::now()) {
        Turn::Known(known) => known,
        Turn::Begins => {
            let (working, vault, file) = (Arc::clone(service), Arc::clone(vault), file.clone());
            service.tasks.spawn_blocking(move || {
                let outcome = read(&working, &vault, &file, key);
                working.digests.end(key, outcome);
            });
            Known::Going(0)
        }
    }
}

/// Reads the file through; `None` when nobody waits for it any more.
fn read(service: &Service, vault: &OpenVault, file: &FileVersion, key: Key) -> Option<Result<[u8; 32], ()>> {
    let keys = &vault.managed()?.keys;
    let mut reader = RangeReader::new(&service.home.store, vault.id, keys, (file.content, file.size), 0..file.size);
    let mut digest = Sha256::new();
    loop {
        match reader.next() {
            Ok(Some(bytes)) => {
                digest.update(&bytes);
                if service.stop.is_cancelled() || !service.digests.go_on(key, bytes.len(), Instant::now()) {
                    return None;
                }
            }
            Ok(None) => return Some(Ok(digest.finalize().into())),
            Err(error) => {
                tracing::error!(%error, "a file cannot be read to its end");
                return Some(Err(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        (VaultId::from_bytes([1; 16]), ObjectId::from_bytes([byte; 32]))
    }

    #[test]
    fn two_files_are_read_at_a_time_and_what_was_found_is_kept() {
        let (digests, now) = (Digests::default(), Instant::now());
        assert_eq!(digests.ask(key(1), now), Turn::Begins);
        assert_eq!(digests.ask(key(2), now), Turn::Begins);
        assert_eq!(digests.ask(key(3), now), Turn::Known(Known::Going(0)), "it waits");
        assert!(digests.go_on(key(1), 7, now));
        assert_eq!(digests.ask(key(1), now), Turn::Known(Known::Going(7)));
        digests.end(key(1), Some(Ok([9; 32])));
        assert_eq!(digests.ask(key(1), now), Turn::Known(Known::Digest([9; 32])));
        assert_eq!(digests.ask(key(3), now), Turn::Begins);
        // In another vault it is another file.
        digests.end(key(2), None);
        let other = (VaultId::from_bytes([2; 16]), ObjectId::from_bytes([1; 32]));
        assert_eq!(digests.ask(other, now), Turn::Begins);
    }

    #[test]
    fn a_file_for_which_nobody_asks_is_not_read_on() {
        let (digests, now) = (Digests::default(), Instant::now());
        assert_eq!(digests.ask(key(1), now), Turn::Begins);
        let later = now + PATIENCE - Duration::from_secs(1);
        assert!(digests.go_on(key(1), 1, later));
        assert_eq!(digests.ask(key(1), later), Turn::Known(Known::Going(1)));
        assert!(digests.go_on(key(1), 1, now + PATIENCE), "somebody asked since");
        assert!(!digests.go_on(key(1), 1, later + PATIENCE));
        digests.end(key(1), None);
        assert_eq!(digests.ask(key(1), later + PATIENCE), Turn::Begins);
    }

    #[test]
    fn what_cannot_be_read_is_told_and_tried_again() {
        let (digests, now) = (Digests::default(), Instant::now());
        assert_eq!(digests.ask(key(1), now), Turn::Begins);
        digests.end(key(1), Some(Err(())));
        // It holds nobody up.
        assert_eq!(digests.ask(key(2), now), Turn::Begins);
        assert_eq!(digests.ask(key(3), now), Turn::Begins);
        assert_eq!(digests.ask(key(1), now), Turn::Known(Known::Broken));
        digests.end(key(2), None);
        assert_eq!(digests.ask(key(1), now), Turn::Begins);
    }

    #[test]
    fn the_oldest_goes() {
        let (digests, now) = (Digests::default(), Instant::now());
        let of = |index: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&(index as u64).to_le_bytes());
            (VaultId::from_bytes([1; 16]), ObjectId::from_bytes(bytes))
        };
        for index in 0..=KEPT {
            digests.end(of(index), Some(Ok([0; 32])));
        }
        assert_eq!(digests.ask(of(0), now), Turn::Begins);
        assert_eq!(digests.ask(of(1), now), Turn::Known(Known::Digest([0; 32])));
    }
}
