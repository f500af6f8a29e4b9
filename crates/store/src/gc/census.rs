//! [`Census`]: one vault's objects, in about five bytes each, and which of them are kept.
//!
//! Why this and not a set of ids: ten million half ids are 160 MB, five times what a collection may take. The index is read
//! once, in the order of ids; of each id the census keeps the 32 bits that follow those that choose its bucket (a bucket
//! holds about eight ids), and four bits of state. That finds an object's place without asking the catalog, which makes
//! a mark of millions of edges a matter of memory, not of look-ups.
//!
//! Ids that are alike in all those bits are told apart exactly: they stand next to each other when the census is taken,
//! and their full halves are kept aside. What is left is an id that is stored nowhere and is alike to one that is: one in
//! 2^29 such ids would not be noticed as missing. An approximate set (a Bloom filter) would be smaller still, but an object
//! wrongly taken for visited would lose all that it refers to.

use std::collections::HashMap;

use crate::ids::HalfId;

/// Ids a bucket holds on average.
const BUCKET_LEN: u64 = 8;
/// Bits of an id that are kept beside its bucket.
const KEY_BITS: u32 = 32;
const BUCKET_BITS_MAX: u32 = 28;

/// An object's place in the census, from 0, in the order of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

/// One vault's objects.
#[derive(Debug)]
pub(super) struct Census {
    bucket_bits: u32,
    /// Where each bucket begins in `keys`, and where the last ends.
    starts: Vec<u32>,
    keys: Vec<u32>,
    /// Places of the ids that share bucket and key with another.
    twins: HashMap<HalfId, Place>,
    metadata: Bits,
    deltas: Bits,
    kept: Bits,
    kept_count: u64,
    referenced: Bits,
}

/// What the index says of one object, all its copies together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traits {
    pub(super) is_metadata: bool,
    /// One of its copies is a delta.
    pub(super) has_delta: bool,
}

impl Census {
    pub(super) fn len(&self) -> u64 {
        self.keys.len() as u64
    }

    pub(super) fn kept_count(&self) -> u64 {
        self.kept_count
    }

    /// Where the object stands; `None` when no copy of it was stored when the census was taken.
    pub(super) fn place(&self, id: &HalfId) -> Option<Place> {
        let (bucket, key) = split(id, self.bucket_bits);
        let (start, end) = (self.starts[bucket], self.starts[bucket + 1]);
        let keys = &self.keys[start as usize..end as usize];
        let first = keys.partition_point(|other| *other < key);
        match keys.get(first..)? {
            [found, next, ..] if *found == key && *next == key => self.twins.get(id).copied(),
            [found, ..] if *found == key => Some(Place(start + u32::try_from(first).ok()?)),
            _ => None,
        }
    }

    pub(super) fn traits(&self, place: Place) -> Traits {
        Traits { is_metadata: self.metadata.get(place), has_delta: self.deltas.get(place) }
    }

    /// Notes that an object is kept; `false` when that was known.
    pub(super) fn keep(&mut self, place: Place) -> bool {
        let is_new = self.kept.set(place);
        self.kept_count += u64::from(is_new);
        is_new
    }

    /// Notes that a page or a root refers to an object: it is not kept only because a delta stands on it.
    pub(super) fn refer(&mut self, place: Place) {
        self.referenced.set(place);
    }

    /// Whether a page or a root refers to the object. One that is not stored is nobody's.
    pub(super) fn is_referenced(&self, id: &HalfId) -> bool {
        self.place(id).is_some_and(|place| self.referenced.get(place))
    }

    /// Whether an object is kept. One that was stored after the census was taken is not known here.
    pub(super) fn is_kept(&self, id: &HalfId) -> bool {
        self.place(id).is_some_and(|place| self.kept.get(place))
    }

    /// Bytes of memory it takes, ids that are alike not counted.
    #[cfg(test)]
    fn memory_len(&self) -> usize {
        4 * (self.starts.capacity() + self.keys.capacity())
            + [&self.metadata, &self.deltas, &self.kept, &self.referenced]
                .iter()
                .map(|bits| 8 * bits.words.capacity())
                .sum::<usize>()
    }
}

/// Takes a census: ids come in ascending order, each once.
#[derive(Debug)]
pub(super) struct CensusTaker {
    census: Census,
    last: Option<(HalfId, u32)>,
}

impl CensusTaker {
    /// `expected_count` is a guess: a wrong one costs time or memory, nothing else.
    pub(super) fn new(expected_count: u64) -> Self {
        let bucket_bits = (expected_count / BUCKET_LEN).max(1).ilog2().clamp(4, BUCKET_BITS_MAX);
        let mut starts = Vec::with_capacity((1 << bucket_bits) + 1);
        starts.push(0);
        let mut keys = Vec::new();
        // A guess that cannot be had is no reason to fail: the list grows as it must.
        let guess = usize::try_from(expected_count.min(u64::from(u32::MAX))).unwrap_or_default();
        drop(keys.try_reserve_exact(guess));
        let census = Census {
            bucket_bits,
            starts,
            keys,
            twins: HashMap::new(),
            metadata: Bits::default(),
            deltas: Bits::default(),
            kept: Bits::default(),
            kept_count: 0,
            referenced: Bits::default(),
        };
        Self { census, last: None }
    }

    /// Adds the next object; `false` when there are more than places.
    pub(super) fn add(&mut self, id: HalfId, traits: Traits) -> bool {
        let census = &mut self.census;
        let Ok(number) = u32::try_from(census.keys.len()) else { return false };
        let (bucket, key) = split(&id, census.bucket_bits);
        if let Some((last, last_number)) = self.last
            && split(&last, census.bucket_bits) == (bucket, key)
        {
            census.twins.insert(last, Place(last_number));
            census.twins.insert(id, Place(number));
        }
        // `starts[b]` is written when the first id of bucket `b` or a later one comes.
        while census.starts.len() <= bucket {
            census.starts.push(number);
        }
        census.keys.push(key);
        census.metadata.push(number, traits.is_metadata);
        census.deltas.push(number, traits.has_delta);
        census.kept.push(number, false);
        census.referenced.push(number, false);
        self.last = Some((id, number));
        true
    }

    pub(super) fn finish(self) -> Census {
        let mut census = self.census;
        let end = u32::try_from(census.keys.len()).expect("`add` refuses more");
        census.starts.resize((1 << census.bucket_bits) + 1, end);
        census.keys.shrink_to_fit();
        census
    }
}

/// The bucket an id falls into, and the bits of it that are kept.
fn split(id: &HalfId, bucket_bits: u32) -> (usize, u32) {
    let id = u128::from_be_bytes(*id);
    let bucket = usize::try_from(id >> (u128::BITS - bucket_bits)).expect("at most 28 bits");
    let key = id >> (u128::BITS - bucket_bits - KEY_BITS) & u128::from(u32::MAX);
    (bucket, u32::try_from(key).expect("masked"))
}

/// A bit for each place.
#[derive(Debug, Default)]
struct Bits {
    words: Vec<u64>,
}

impl Bits {
    fn push(&mut self, number: u32, bit: bool) {
        if number.is_multiple_of(u64::BITS) {
            self.words.push(0);
        }
        if bit {
            self.set(Place(number));
        }
    }

    fn get(&self, Place(number): Place) -> bool {
        self.words[(number / u64::BITS) as usize] >> (number % u64::BITS) & 1 == 1
    }

    /// Sets a bit; `false` when it was set.
    fn set(&mut self, Place(number): Place) -> bool {
        let word = &mut self.words[(number / u64::BITS) as usize];
        let before = *word;
        *word |= 1 << (number % u64::BITS);
        *word != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: u64) -> Vec<HalfId> {
        let hash = |number: u64| *blake3::hash(&number.to_le_bytes()).as_bytes().first_chunk().unwrap();
        let mut ids: Vec<HalfId> = (0..count).map(hash).collect();
        ids.sort_unstable();
        ids
    }

    fn taken(ids: &[HalfId], expected_count: u64) -> Census {
        let mut taker = CensusTaker::new(expected_count);
        for (number, id) in ids.iter().enumerate() {
            let traits = Traits { is_metadata: number % 3 == 0, has_delta: number % 5 == 0 };
            assert!(taker.add(*id, traits));
        }
        taker.finish()
    }

    #[test]
    fn finds_every_object_whatever_was_expected() {
        let ids = ids(3000);
        for expected_count in [0, 1, 3000, 1_000_000] {
            let mut census = taken(&ids, expected_count);
            for (number, id) in ids.iter().enumerate() {
                let place = census.place(id).unwrap();
                let traits = census.traits(place);
                assert_eq!((traits.is_metadata, traits.has_delta), (number % 3 == 0, number % 5 == 0));
                assert!(!census.is_kept(id));
                if number % 2 == 0 {
                    assert!(census.keep(place) && !census.keep(place));
                }
            }
            assert!(ids.iter().enumerate().all(|(number, id)| census.is_kept(id) == (number % 2 == 0)));
            assert_eq!((census.len(), census.kept_count()), (3000, 1500));
            let other = |id: &HalfId| *blake3::hash(id).as_bytes().first_chunk().unwrap();
            assert!(ids.iter().all(|id| census.place(&other(id)).is_none()));
        }
        assert_eq!(taken(&[], 0).place(&[0; 16]), None);
        assert_eq!(taken(&[[0xff; 16]], 9).place(&[0xff; 16]), Some(Place(0)));
    }

    #[test]
    fn ids_that_begin_alike_are_told_apart() {
        let mut ids = ids(100);
        let alike: Vec<HalfId> =
            (0..4).map(|last| std::array::from_fn(|at| if at == 15 { last } else { 0x5a })).collect();
        ids.extend(&alike[..3]);
        ids.sort_unstable();
        let mut census = taken(&ids, 100);
        assert!(census.keep(census.place(&alike[1]).unwrap()));
        assert_eq!(alike.iter().map(|id| census.is_kept(id)).collect::<Vec<_>>(), [false, true, false, false]);
        assert!(census.place(&alike[2]).is_some());
        assert_eq!(census.place(&alike[3]), None);
    }

    #[test]
    fn a_million_objects_take_a_tenth_of_the_memory_that_ten_million_may() {
        const COUNT: u64 = 1 << 20;
        let mut taker = CensusTaker::new(COUNT);
        for number in 0..COUNT {
            // Evenly spread and ascending, as hashes in order are.
            assert!(taker.add((u128::from(number) << 108).to_be_bytes(), Traits::default()));
        }
        let memory_len = taker.finish().memory_len();
        assert!(memory_len <= 6 << 20, "{memory_len} bytes");
    }
}
