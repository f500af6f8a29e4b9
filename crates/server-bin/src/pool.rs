//! [`Pool`]: a few threads for work that blocks: reading packs, asking the catalog, hashing.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// More would only queue at the disk and at the catalog's readers.
const THREADS: usize = 4;

/// A few threads for work that blocks; whoever comes when all are busy waits for their turn.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    threads: Arc<Semaphore>,
}

/// The work panicked; what it was doing is left half done, in memory only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server failed at this")]
pub(crate) struct Panicked;

impl Pool {
    pub(crate) fn new() -> Self {
        Self { threads: Arc::new(Semaphore::new(THREADS)) }
    }

    /// Does `work` on one of the threads. It is done to the end even when nobody waits for the result any more.
    ///
    /// # Errors
    /// [`Panicked`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let thread = Arc::clone(&self.threads).acquire_owned().await.expect("the semaphore is never closed");
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(thread);
            result
        });
        done.await.map_err(|_| Panicked)
    }
}
