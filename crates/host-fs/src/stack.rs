//! [`DirStack`]: the way from a root down to one directory, with few of its directories held open.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::dir::{HostDir, ParkedHostDir};
use crate::error::HostError;

/// A directory that a [`DirStack`] can close for a while and find again from below.
pub trait Parkable: Sized {
    /// What is kept meanwhile.
    type Parked;

    /// Closes the directory.
    ///
    /// # Errors
    /// Of the file system, when it cannot be told which directory it was.
    fn park(self) -> Result<Self::Parked, HostError>;

    /// Opens it again as the parent of `child`.
    ///
    /// # Errors
    /// `Changed` when the parent of `child` is another directory by now.
    fn reopen(parked: Self::Parked, child: &Self) -> Result<Self, HostError>;
}

impl Parkable for HostDir {
    type Parked = ParkedHostDir;

    fn park(self) -> Result<Self::Parked, HostError> {
        self.parked()
    }

    fn reopen(parked: Self::Parked, child: &Self) -> Result<Self, HostError> {
        Self::reopen(&parked, child)
    }
}

/// A directory that others may use too stays open until they are done with it.
impl Parkable for Arc<HostDir> {
    type Parked = ParkedHostDir;

    fn park(self) -> Result<Self::Parked, HostError> {
        self.parked()
    }

    fn reopen(parked: Self::Parked, child: &Self) -> Result<Self, HostError> {
        HostDir::reopen(&parked, child).map(Arc::new)
    }
}

/// Directories from a root (the first pushed) down to the one that is worked in (the last).
///
/// Only the deepest `held_max` keep their descriptors, so a tree may be deeper than a process may have files open. One
/// that was closed is opened again as `..` of the directory below it, and must then be the very same directory.
#[derive(Debug)]
pub struct DirStack<D: Parkable> {
    parked: Vec<D::Parked>,
    held: VecDeque<D>,
    held_max: NonZeroUsize,
}

impl<D: Parkable> DirStack<D> {
    /// An empty stack that holds at most `held_max` descriptors, and one more while it goes back up.
    #[must_use]
    pub fn new(held_max: NonZeroUsize) -> Self {
        Self { parked: Vec::new(), held: VecDeque::new(), held_max }
    }

    /// Goes down into `dir`, which must be a child of [`top`](Self::top).
    ///
    /// # Errors
    /// When the directory that has to be closed for it cannot be looked at; it is then lost, and so is the way back.
    pub fn push(&mut self, dir: D) -> Result<(), HostError> {
        if self.held.len() == self.held_max.get()
            && let Some(highest) = self.held.pop_front()
        {
            self.parked.push(highest.park()?);
        }
        self.held.push_back(dir);
        Ok(())
    }

    /// Leaves the last directory and returns it; `None` when nothing is left.
    ///
    /// # Errors
    /// When the directory above had been closed and cannot be opened again. The stack is then empty: there is no safe
    /// way back.
    pub fn pop(&mut self) -> Result<Option<D>, HostError> {
        let Some(dir) = self.held.pop_back() else { return Ok(None) };
        if self.held.is_empty()
            && let Some(parked) = self.parked.pop()
        {
            match D::reopen(parked, &dir) {
                Ok(parent) => self.held.push_back(parent),
                Err(error) => {
                    self.parked.clear();
                    return Err(error);
                }
            }
        }
        Ok(Some(dir))
    }

    /// The directory that is worked in.
    #[must_use]
    pub fn top(&self) -> Option<&D> {
        self.held.back()
    }

    /// The directory that is worked in, to be changed.
    pub fn top_mut(&mut self) -> Option<&mut D> {
        self.held.back_mut()
    }

    /// How many directories it is from the root, itself included.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.parked.len() + self.held.len()
    }
}
