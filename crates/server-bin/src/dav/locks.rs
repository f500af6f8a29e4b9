//! [`Locks`]: who holds what on the drives, so that of two editors of a file the second waits. In memory: a server that starts
//! again has forgotten them, as RFC 4918 allows, and every lock ends by itself.

use std::collections::HashMap;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use dav_server::davpath::DavPath;
use dav_server::ls::{DavLock, DavLockSystem, LsFuture};
use object::VaultId;
use proto::DrivePath;
use xmltree::Element;

use crate::dav::tree::Refusal;
use crate::keys::random;
use crate::rest::problem;

/// Most locks of a drive.
const LOCKS_MAX: usize = 1000;
/// How long a lock holds when its client does not say, and at most; clients that are alive refresh it.
const LIFETIME: Duration = Duration::from_secs(600);
const LIFETIME_MAX: Duration = Duration::from_secs(3600);

/// The locks of all drives.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<HashMap<VaultId, Held>>);

/// The locks of a drive.
#[derive(Debug, Default)]
struct Held(Vec<(Instant, DavLock)>);

impl Held {
    /// Forgets those that have ended.
    fn expire(&mut self, now: Instant) {
        self.0.retain(|(end, _)| *end > now);
    }

    fn covering(&self, path: &[u8]) -> impl Iterator<Item = &DavLock> {
        self.0.iter().map(|(_, lock)| lock).filter(move |lock| covers(lock, path))
    }

    fn below(&self, path: &[u8]) -> impl Iterator<Item = &DavLock> {
        self.0.iter().map(|(_, lock)| lock).filter(move |lock| is_within(plain(&lock.path), path))
    }

    /// Whether who brings these tokens may change this; the lock in the way otherwise. A shared lock is in nobody's way
    /// who has one there.
    fn check(&self, path: &[u8], principal: Option<&str>, deep: bool, tokens: &[String]) -> Result<(), DavLock> {
        let owns = |lock: &&DavLock| tokens.contains(&lock.token) && principal == lock.principal.as_deref();
        let owns_one = self.covering(path).any(|lock| owns(&lock));
        let in_the_way = |lock: &&DavLock| !(owns(lock) || lock.shared && owns_one);
        let below = deep.then(|| self.below(path).find(in_the_way)).flatten();
        self.covering(path).find(in_the_way).or(below).map_or(Ok(()), |lock| Err(lock.clone()))
    }

    /// The lock that a new one would collide with.
    fn collision(&self, path: &[u8], shared: bool, deep: bool) -> Option<DavLock> {
        let collides = |lock: &&DavLock| !(shared && lock.shared);
        let below = deep.then(|| self.below(path).find(collides)).flatten();
        self.covering(path).find(collides).or(below).cloned()
    }

    /// The lock with this token, if it covers the path.
    fn find(&mut self, path: &[u8], token: &str) -> Option<&mut (Instant, DavLock)> {
        self.0.iter_mut().find(|(_, lock)| lock.token == token && covers(lock, path))
    }
}

/// The names of a path, as bytes, without the slash at its end.
fn plain(path: &DavPath) -> &[u8] {
    let path = path.as_bytes();
    path.strip_suffix(b"/").unwrap_or(path)
}

fn is_within(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

fn covers(lock: &DavLock, path: &[u8]) -> bool {
    let at = plain(&lock.path);
    at == path || (lock.deep && is_within(path, at))
}

/// The locks of one drive, for one request.
#[derive(Clone, Debug)]
pub(super) struct DriveLocks {
    pub(super) locks: Arc<Locks>,
    pub(super) vault: VaultId,
    pub(super) refusal: Refusal,
}

impl DriveLocks {
    fn with<T>(&self, work: impl FnOnce(&mut Held, Instant) -> T) -> T {
        let mut drives = self.locks.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        drives.retain(|_, held| {
            held.expire(now);
            !held.0.is_empty()
        });
        work(drives.entry(self.vault).or_default(), now)
    }

    /// The locks that cover an entry.
    pub(super) fn covering(&self, path: &DrivePath) -> Vec<DavLock> {
        let slash = if path.is_root() { &b""[..] } else { b"/" };
        let path = [slash, path.as_bytes()].concat();
        self.with(|held, _| held.covering(&path).cloned().collect())
    }

    /// What is said where a lock is to be named and none is in the way.
    fn none(path: &DavPath) -> DavLock {
        DavLock {
            token: String::new(),
            path: Box::new(path.clone()),
            principal: None,
            owner: None,
            timeout_at: None,
            timeout: None,
            shared: false,
            deep: false,
        }
    }
}

fn lifetime(said: Option<Duration>) -> Duration {
    said.unwrap_or(LIFETIME).clamp(Duration::from_secs(1), LIFETIME_MAX)
}

impl DavLockSystem for DriveLocks {
    fn lock(
        &'_ self,
        path: &DavPath,
        principal: Option<&str>,
        owner: Option<&Element>,
        timeout: Option<Duration>,
        shared: bool,
        deep: bool,
    ) -> LsFuture<'_, Result<DavLock, DavLock>> {
        let made = self.with(|held, now| {
            if let Some(lock) = held.collision(plain(path), shared, deep) {
                return Err(lock);
            }
            if held.0.len() >= LOCKS_MAX {
                let detail = "the drive has too many locks; each ends by itself, within the hour";
                self.refusal.set(problem::new(StatusCode::INSUFFICIENT_STORAGE, detail));
                return Err(Self::none(path));
            }
            let Ok(id) = random::<16>() else { return Err(Self::none(path)) };
            let lifetime = lifetime(timeout);
            let lock = DavLock {
                token: format!("opaquelocktoken:{}", object::hex::encode(&id)),
                path: Box::new(path.clone()),
                principal: principal.map(str::to_owned),
                owner: owner.cloned().map(Box::new),
                // Nobody asks for it.
                timeout_at: None,
                timeout: Some(lifetime),
                shared,
                deep,
            };
            held.0.push((now + lifetime, lock.clone()));
            Ok(lock)
        });
        Box::pin(ready(made))
    }

    fn unlock(&'_ self, path: &DavPath, token: &str) -> LsFuture<'_, Result<(), ()>> {
        let unlocked = self.with(|held, _| {
            held.find(plain(path), token).ok_or(())?;
            held.0.retain(|(_, lock)| lock.token != token);
            Ok(())
        });
        Box::pin(ready(unlocked))
    }

    fn refresh(&'_ self, path: &DavPath, token: &str, timeout: Option<Duration>) -> LsFuture<'_, Result<DavLock, ()>> {
        let refreshed = self.with(|held, now| {
            let (end, lock) = held.find(plain(path), token).ok_or(())?;
            let lifetime = lifetime(timeout);
            *end = now + lifetime;
            lock.timeout = Some(lifetime);
            Ok(lock.clone())
        });
        Box::pin(ready(refreshed))
    }

    fn check(
        &'_ self,
        path: &DavPath,
        principal: Option<&str>,
        ignore_principal: bool,
        deep: bool,
        submitted_tokens: &[String],
    ) -> LsFuture<'_, Result<(), DavLock>> {
        let checked = self.with(|held, _| {
            // So conditions are looked at: whether such a lock is here, whoever asks.
            if ignore_principal {
                let is_here = submitted_tokens.iter().all(|token| held.find(plain(path), token).is_some());
                return if is_here { Ok(()) } else { Err(Self::none(path)) };
            }
            held.check(plain(path), principal, deep, submitted_tokens)
        });
        Box::pin(ready(checked))
    }

    fn discover(&'_ self, path: &DavPath) -> LsFuture<'_, Vec<DavLock>> {
        let found = self.with(|held, _| held.covering(plain(path)).cloned().collect());
        Box::pin(ready(found))
    }

    fn delete(&'_ self, path: &DavPath) -> LsFuture<'_, Result<(), ()>> {
        self.with(|held, _| held.0.retain(|(_, lock)| !is_within(plain(&lock.path), plain(path))));
        Box::pin(ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locks() -> DriveLocks {
        let vault = VaultId::from_bytes([1; 16]);
        DriveLocks { locks: Arc::default(), vault, refusal: Refusal::default() }
    }

    fn path(path: &str) -> DavPath {
        DavPath::new(path).unwrap()
    }

    async fn take(locks: &DriveLocks, at: &str, shared: bool, deep: bool) -> Result<String, String> {
        let taken = locks.lock(&path(at), Some("ada"), None, None, shared, deep).await;
        taken.map(|lock| lock.token).map_err(|lock| lock.token)
    }

    async fn may(locks: &DriveLocks, at: &str, who: &str, deep: bool, tokens: &[&String]) -> bool {
        let tokens: Vec<String> = tokens.iter().map(|token| (*token).clone()).collect();
        locks.check(&path(at), Some(who), false, deep, &tokens).await.is_ok()
    }

    #[tokio::test]
    async fn a_lock_covers_what_it_says() {
        let locks = locks();
        let folder = take(&locks, "/docs/", false, true).await.unwrap();
        for (at, is_free) in [("/docs", false), ("/docs/a/b", false), ("/docs2", true), ("/", true)] {
            assert_eq!(may(&locks, at, "ada", false, &[]).await, is_free, "{at}");
            assert!(may(&locks, at, "ada", true, &[&folder]).await, "{at}");
        }
        assert!(!may(&locks, "/", "ada", true, &[]).await, "with all that is in it");
        assert!(!may(&locks, "/docs/a", "bob", false, &[&folder]).await, "somebody else's");
        assert_eq!(take(&locks, "/docs/a", false, false).await, Err(folder.clone()));
        assert_eq!(take(&locks, "/", true, true).await, Err(folder.clone()));
        assert!(take(&locks, "/", true, false).await.is_ok());
        assert!(locks.unlock(&path("/elsewhere"), &folder).await.is_err());
        locks.unlock(&path("/docs/a"), &folder).await.unwrap();
        assert!(may(&locks, "/docs/a", "bob", true, &[]).await);
        let other = DriveLocks { vault: VaultId::from_bytes([2; 16]), ..locks.clone() };
        assert!(may(&other, "/", "ada", true, &[]).await, "of another drive");
    }

    #[tokio::test]
    async fn shared_locks_are_shared() {
        let locks = locks();
        let one = take(&locks, "/a", true, false).await.unwrap();
        let two = take(&locks, "/a", true, false).await.unwrap();
        assert!(take(&locks, "/a", false, false).await.is_err());
        assert!(may(&locks, "/a", "ada", false, &[&one]).await && may(&locks, "/a", "ada", false, &[&two]).await);
        assert!(!may(&locks, "/a", "ada", false, &[]).await);
        assert_eq!(locks.discover(&path("/a")).await.len(), 2);
        locks.delete(&path("/")).await.unwrap();
        assert!(locks.discover(&path("/a")).await.is_empty());
    }

    #[tokio::test]
    async fn locks_end_and_are_bounded() {
        let locks = locks();
        for number in 0..LOCKS_MAX {
            take(&locks, &format!("/{number}"), false, false).await.unwrap();
        }
        assert_eq!(take(&locks, "/more", false, false).await, Err(String::new()));
        assert_eq!(locks.refusal.take().unwrap().status(), StatusCode::INSUFFICIENT_STORAGE);
        let forever = Some(Duration::from_secs(1 << 40));
        let token = locks.discover(&path("/7")).await[0].token.clone();
        assert_eq!(locks.refresh(&path("/7"), &token, forever).await.unwrap().timeout, Some(LIFETIME_MAX));
        let mut held = locks.locks.0.lock().unwrap();
        let held = held.get_mut(&locks.vault).unwrap();
        held.expire(Instant::now() + LIFETIME);
        assert_eq!(held.0.len(), 1, "the one that was refreshed");
        held.expire(Instant::now() + LIFETIME_MAX);
        assert!(held.0.is_empty());
    }
}
