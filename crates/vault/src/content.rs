//! [`Content`]: where a file's bytes are.

use object::ObjectId;

/// The object that holds a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// The file has no bytes, and no object.
    Empty,
    /// The file is one chunk.
    Chunk(ObjectId),
    /// The file is several chunks, or has holes: the root page of its list.
    List(ObjectId),
}

impl Content {
    /// The object, unless the file is empty.
    #[must_use]
    pub fn id(&self) -> Option<ObjectId> {
        match self {
            Self::Empty => None,
            Self::Chunk(id) | Self::List(id) => Some(*id),
        }
    }
}
