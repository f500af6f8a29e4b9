//! [`Link`]: a connection for machines without sockets, in time that the test moves. Bytes arrive late, in pieces, and
//! up to a cut; never damaged and never out of order, like those of TCP. Same seed, same link.

use std::collections::VecDeque;
use std::time::Duration;

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}

/// What a link does to the bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trouble {
    /// The link breaks when this end has sent so many bytes: none after them arrive, and none of the other end's that
    /// are still under way.
    pub(crate) cut: Option<(End, u64)>,
    /// Longest time a piece is under way.
    pub(crate) delay_max: Duration,
    /// Longest piece in bytes, at least 1.
    pub(crate) piece_len_max: u64,
}

impl Trouble {
    /// Bytes arrive at once.
    pub(crate) const NONE: Self = Self { cut: None, delay_max: Duration::ZERO, piece_len_max: u64::MAX };
}

/// Two directions of bytes.
#[derive(Debug)]
pub(crate) struct Link {
    trouble: Trouble,
    random: Random,
    from_client: Direction,
    from_server: Direction,
    is_cut: bool,
}

#[derive(Debug, Default)]
struct Direction {
    sent_len: u64,
    under_way: VecDeque<(Duration, Vec<u8>)>,
}

impl Link {
    pub(crate) fn new(trouble: Trouble, seed: u64) -> Self {
        let random = Random::new(seed);
        Self { trouble, random, from_client: Direction::default(), from_server: Direction::default(), is_cut: false }
    }

    /// `from` sends bytes; after a cut they go nowhere.
    pub(crate) fn send(&mut self, from: End, bytes: &[u8], now: Duration) {
        let Trouble { cut, delay_max, piece_len_max } = self.trouble;
        let mut rest = bytes;
        while !self.is_cut && !rest.is_empty() {
            let piece_len = 1 + self.random.below(piece_len_max.min(rest.len() as u64));
            let delay = Duration::from_micros(self.random.below(1 + u64::try_from(delay_max.as_micros()).unwrap()));
            let direction = self.direction(from);
            let left = match cut {
                Some((end, at)) if end == from => at - direction.sent_len,
                _ => u64::MAX,
            };
            let (piece, later) = rest.split_at(usize::try_from(piece_len.min(left)).unwrap());
            rest = later;
            direction.sent_len += piece.len() as u64;
            let after_the_last = direction.under_way.back().map_or(Duration::ZERO, |(arrival, _)| *arrival);
            direction.under_way.push_back((after_the_last.max(now + delay), piece.to_vec()));
            if piece_len >= left {
                self.is_cut = true;
                self.other_direction(from).under_way.clear();
            }
        }
    }

    /// What has arrived at `at` by now.
    pub(crate) fn receive(&mut self, at: End, now: Duration) -> Vec<u8> {
        let direction = self.other_direction(at);
        let mut bytes = Vec::new();
        while let Some((_, piece)) = direction.under_way.pop_front_if(|(arrival, _)| *arrival <= now) {
            bytes.extend(piece);
        }
        bytes
    }

    /// When the next piece arrives, at either end.
    pub(crate) fn next_arrival(&self) -> Option<Duration> {
        let directions = [&self.from_client, &self.from_server];
        directions.into_iter().filter_map(|direction| Some(direction.under_way.front()?.0)).min()
    }

    /// Bytes that `from` has sent, up to a cut.
    pub(crate) fn sent_len(&self, from: End) -> u64 {
        match from {
            End::Client => self.from_client.sent_len,
            End::Server => self.from_server.sent_len,
        }
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    fn direction(&mut self, from: End) -> &mut Direction {
        match from {
            End::Client => &mut self.from_client,
            End::Server => &mut self.from_server,
        }
    }

    fn other_direction(&mut self, to: End) -> &mut Direction {
        match to {
            End::Client => &mut self.from_server,
            End::Server => &mut self.from_client,
        }
    }
}

/// SplitMix64: numbers that look random and are the same for the same seed (Steele, Lea and Flood, OOPSLA 2014).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
