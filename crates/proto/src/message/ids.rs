//! [`Ids`]: many object ids in one piece of memory. [`HeldAnswer`]: one bit for each.

use std::fmt;

use bytes::Bytes;
use object::ObjectId;

/// Object ids back to back, 32 bytes each. Cloning shares the bytes; of a received message they are a slice of the
/// receive buffer.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Ids(Bytes);

impl Ids {
    /// Takes ids back to back; `None` unless `bytes` holds whole ids only.
    #[must_use]
    pub fn new(bytes: Bytes) -> Option<Self> {
        bytes.len().is_multiple_of(ObjectId::LEN).then_some(Self(bytes))
    }

    /// The bytes, 32 per id.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Number of ids.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len() / ObjectId::LEN
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The id at `index`, if there are that many.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<ObjectId> {
        self.chunks().get(index).map(|id| ObjectId::from_bytes(*id))
    }

    /// The ids in order; one may stand there more than once.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ObjectId> + DoubleEndedIterator + '_ {
        self.chunks().iter().map(|id| ObjectId::from_bytes(*id))
    }

    fn chunks(&self) -> &[[u8; ObjectId::LEN]] {
        self.0.as_chunks().0
    }
}

impl FromIterator<ObjectId> for Ids {
    fn from_iter<I: IntoIterator<Item = ObjectId>>(ids: I) -> Self {
        let ids = ids.into_iter();
        // Bounded: ids of our own.
        let mut bytes = Vec::with_capacity(ids.size_hint().0 * ObjectId::LEN);
        for id in ids {
            bytes.extend_from_slice(id.as_bytes());
        }
        Self(bytes.into())
    }
}

impl<'a> FromIterator<&'a ObjectId> for Ids {
    fn from_iter<I: IntoIterator<Item = &'a ObjectId>>(ids: I) -> Self {
        ids.into_iter().copied().collect()
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// For each id of a `Held`, in order: whether the vault holds the object and everything below it.
///
/// ```
/// let answer: proto::HeldAnswer = [true, false, true].into_iter().collect();
/// assert_eq!(answer.len(), 3);
/// assert_eq!(answer.is_held(1), Some(false));
/// assert_eq!(answer.as_bytes()[..], [0b101]);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct HeldAnswer {
    count: u32,
    bits: Bytes,
}

impl HeldAnswer {
    /// Takes `count` bits, lowest first; `None` unless `bits` is exactly as long as that takes and ends in zeros.
    #[must_use]
    pub fn new(count: u32, bits: Bytes) -> Option<Self> {
        let whole = bits.len() == (count as usize).div_ceil(8);
        let unused = match (count % 8, bits.last()) {
            (1.., Some(last)) => last >> (count % 8),
            _ => 0,
        };
        (whole && unused == 0).then_some(Self { count, bits })
    }

    /// Number of ids answered for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether nothing was asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The answer for the id at `index`; `None` past the end.
    #[must_use]
    pub fn is_held(&self, index: usize) -> Option<bool> {
        (index < self.len()).then(|| self.bits[index / 8] >> (index % 8) & 1 == 1)
    }

    /// The answers in order.
    pub fn iter(&self) -> impl Iterator<Item = bool> + '_ {
        (0..self.len()).map(|index| self.bits[index / 8] >> (index % 8) & 1 == 1)
    }

    /// The bits, eight to a byte, lowest first.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.bits
    }
}

impl FromIterator<bool> for HeldAnswer {
    /// # Panics
    /// With 2^32 answers or more; a `Held` asks for far fewer.
    fn from_iter<I: IntoIterator<Item = bool>>(answers: I) -> Self {
        let mut bits = Vec::new();
        let mut count = 0;
        for held in answers {
            if count % 8 == 0 {
                bits.push(0);
            }
            if let Some(last) = bits.last_mut() {
                *last |= u8::from(held) << (count % 8);
            }
            count += 1;
        }
        Self { count, bits: bits.into() }
    }
}

impl fmt::Debug for HeldAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.iter().filter(|held| *held).count();
        write!(f, "HeldAnswer({held} of {})", self.count)
    }
}
