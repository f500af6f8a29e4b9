//! [`Walk`]: everything in one snapshot, or in two side by side, in the order of paths; it can be left anywhere and taken up
//! again behind a path.

use object::ObjectId;
use vault::{Entry, TreeCursor};

use crate::browse::{BrowseError, Browser, TreePath, next, tree_of};

/// Folders on the way down whose place in their pages is kept; those further up are looked up again on the way back, so that
/// depth costs no memory.
const KEPT_FOLDERS: usize = 16;

/// What is at one path: before, and after. At least one of them is there.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// In the first snapshot.
    pub(crate) before: Option<Entry>,
    /// In the second.
    pub(crate) after: Option<Entry>,
}

/// Goes through two trees. Folders that are the same in both are not entered.
pub(crate) struct Walk {
    path: TreePath,
    /// From the root down.
    levels: Vec<Level>,
    /// Pages passed over because they cannot be read.
    pub(crate) unreadable: u64,
}

/// A folder on the way down.
struct Level {
    sides: [Option<Side>; 2],
    /// The name that was given out last.
    last: Vec<u8>,
}

/// One of the two trees of a folder.
struct Side {
    tree: ObjectId,
    cursor: Option<TreeCursor>,
    ahead: Option<Entry>,
}

impl Level {
    fn new(trees: [Option<ObjectId>; 2]) -> Self {
        let side = |tree| Side { tree, cursor: None, ahead: None };
        Self { sides: trees.map(|tree| tree.map(side)), last: Vec::new() }
    }

    fn forget_place(&mut self) {
        for side in self.sides.iter_mut().flatten() {
            (side.cursor, side.ahead) = (None, None);
        }
    }

    /// The next name, wherever it is.
    fn next(&mut self, browser: &mut Browser, unreadable: &mut u64) -> Result<Option<Pair>, BrowseError> {
        for place in &mut self.sides {
            let Some(side) = place else { continue };
            if side.ahead.is_none() {
                let cursor = side.cursor.get_or_insert_with(|| TreeCursor::after(side.tree, self.last.clone()));
                side.ahead = next(&mut browser.reader, cursor, unreadable)?;
            }
            if side.ahead.is_none() {
                *place = None;
            }
        }
        let ahead = self.sides.iter().flatten().filter_map(|side| side.ahead.as_ref());
        let Some(name) = ahead.map(|entry| &entry.name).min().cloned() else { return Ok(None) };
        let [before, after] =
            self.sides.each_mut().map(|side| side.as_mut()?.ahead.take_if(|entry| entry.name == name));
        self.last = name;
        Ok(Some(Pair { before, after }))
    }
}

impl Walk {
    /// Starts before the first entry of these trees.
    pub(crate) fn new(before: Option<ObjectId>, after: Option<ObjectId>) -> Self {
        let mut walk = Self { path: TreePath::default(), levels: Vec::new(), unreadable: 0 };
        walk.enter([before, after]);
        walk
    }

    /// Goes on behind `path`, which was given out before.
    ///
    /// # Errors
    /// [`BrowseError::Read`].
    pub(crate) fn skip_to(&mut self, browser: &mut Browser, path: &TreePath) -> Result<(), BrowseError> {
        for name in path.names() {
            let Some(level) = self.levels.last_mut() else { return Ok(()) };
            level.forget_place();
            level.last.clone_from(name);
            let mut trees = [None, None];
            for (tree, side) in trees.iter_mut().zip(&level.sides) {
                let Some(side) = side else { continue };
                *tree = browser.reader.lookup(side.tree, name)?.and_then(|entry| tree_of(&entry));
            }
            let depth = self.levels.len();
            self.enter(trees);
            if self.levels.len() == depth {
                return Ok(());
            }
            self.path = self.path.child(name);
        }
        Ok(())
    }

    /// The next path and what is there; `None` after the last.
    ///
    /// # Errors
    /// [`BrowseError::Read`] when the store fails.
    pub(crate) fn next(&mut self, browser: &mut Browser) -> Result<Option<(TreePath, Pair)>, BrowseError> {
        while let Some(level) = self.levels.last_mut() {
            let Some(pair) = level.next(browser, &mut self.unreadable)? else {
                self.levels.pop();
                self.path = self.path.parent();
                continue;
            };
            let path = self.path.child(&level.last);
            let depth = self.levels.len();
            self.enter([&pair.before, &pair.after].map(|entry| entry.as_ref().and_then(tree_of)));
            if self.levels.len() > depth {
                self.path = path.clone();
            }
            return Ok(Some((path, pair)));
        }
        Ok(None)
    }

    /// Goes down, where there is a folder and it is not the same in both.
    fn enter(&mut self, trees: [Option<ObjectId>; 2]) {
        let [before, after] = trees;
        if before == after {
            return;
        }
        self.levels.push(Level::new(trees));
        if let Some(above) = self.levels.len().checked_sub(KEPT_FOLDERS + 1) {
            self.levels[above].forget_place();
        }
    }
}
