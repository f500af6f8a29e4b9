//! [`Turns`]: who is at work on an upload. Two requests never work on one at the same time: the second stops the first, as
//! its connection may be dead without the server knowing, and waits until what the first had is durable.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store::UploadId;
use tokio_util::sync::CancellationToken;

/// Longest wait for another request to stop.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Who is at work on which upload.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    taken: Mutex<HashMap<UploadId, Taken>>,
}

#[derive(Debug)]
struct Taken {
    stop: CancellationToken,
    ended: CancellationToken,
}

/// The right to work on an upload; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    upload: UploadId,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Turns {
    /// Stops whoever is at work on this upload, and takes their place once they have; `None` when they do not stop.
    pub(crate) async fn take_over(self: &Arc<Self>, upload: UploadId) -> Option<Turn> {
        let taking = async {
            loop {
                match self.take_or_stop(upload) {
                    Ok(turn) => return turn,
                    Err(ended) => ended.cancelled().await,
                }
            }
        };
        tokio::time::timeout(WAIT_MAX, taking).await.ok()
    }

    fn take_or_stop(self: &Arc<Self>, upload: UploadId) -> Result<Turn, CancellationToken> {
        let mut taken = self.lock();
        if let Some(other) = taken.get(&upload) {
            other.stop.cancel();
            return Err(other.ended.clone());
        }
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        taken.insert(upload, Taken { stop: stop.clone(), ended: ended.clone() });
        Ok(Turn { turns: Arc::clone(self), upload, stop, ended })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Cancelled when somebody else wants the upload.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.upload);
        self.ended.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_stops_the_first_and_waits_for_it() {
        let turns = Arc::new(Turns::default());
        let (upload, other) = (UploadId::from_bytes([1; 16]), UploadId::from_bytes([2; 16]));
        let first = turns.take_over(upload).await.unwrap();
        let stop = first.stop();
        let aside = turns.take_over(other).await.unwrap();
        assert!(!stop.is_cancelled() && !aside.stop().is_cancelled());
        let waiting = turns.take_over(upload);
        let stopping = async {
            stop.cancelled().await;
            // Nobody else is at work before the first has ended.
            assert!(turns.take_or_stop(upload).is_err());
            drop(first);
        };
        let (second, ()) = tokio::join!(waiting, stopping);
        assert!(!second.unwrap().stop().is_cancelled());
        assert_eq!(turns.lock().len(), 1, "those who ended are forgotten");
    }
}
