//! [`Buffers`]: memory that files are read into, used again: fresh memory costs a page fault every 4 KiB.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

/// Buffers kept while nobody needs them: one per reader, so that small files later find the memory free.
const FREE_MAX: usize = 2;

/// Buffers of one length that are not in use.
#[derive(Debug)]
pub(crate) struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
    len: usize,
}

/// A buffer that goes back when it is dropped, unless enough are there; what is in it at first is of no meaning.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// None for one that is too short to be kept.
    home: Option<Arc<Buffers>>,
}

impl Buffers {
    /// Buffers of `len` bytes.
    pub(crate) fn new(len: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::default(), len })
    }

    /// A buffer of at least `needed` bytes, at most `len`. How many there are is up to the caller, who bounds the bytes
    /// under way.
    pub(crate) fn take(self: &Arc<Self>, needed: usize) -> Buffer {
        assert!(needed <= self.len, "a window holds what is read at once");
        if needed <= self.len / 2 {
            // Bounded: by `len`, which is ours.
            return Buffer { bytes: vec![0; needed], home: None };
        }
        let free = self.free.lock().expect("nobody panics with it").pop();
        // Bounded: as above.
        Buffer { bytes: free.unwrap_or_else(|| vec![0; self.len]), home: Some(Arc::clone(self)) }
    }
}

impl Buffer {
    /// The first `len` bytes, to be shared; when the last of them is dropped, the buffer goes back.
    pub(crate) fn into_bytes(self, len: usize) -> Bytes {
        Bytes::from_owner(self).slice(..len)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            let mut free = home.free.lock().expect("nobody panics with it");
            if free.len() < FREE_MAX {
                free.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_buffer_comes_back_when_the_last_slice_of_it_is_gone() {
        let buffers = Buffers::new(8);
        let free = |buffers: &Buffers| buffers.free.lock().unwrap().len();
        let mut buffer = buffers.take(5);
        buffer[..5].copy_from_slice(b"bytes");
        let mut rest = buffer.into_bytes(5);
        let first = rest.split_to(2);
        drop(rest);
        assert_eq!((&first[..], free(&buffers)), (&b"by"[..], 0));
        drop(first);
        assert_eq!(free(&buffers), 1);
        drop(buffers.take(4));
        assert_eq!(free(&buffers), 1, "short ones are not kept");
        drop([buffers.take(8), buffers.take(8), buffers.take(8)]);
        assert_eq!(free(&buffers), FREE_MAX);
    }
}
