//! [`Link`]: a connection for machines without sockets, in time that the test moves. Bytes arrive late, in pieces, and
//! up to a cut; never damaged and never out of order, like those of TCP. Same seed, same link.

use std::collections::VecDeque;
use std::time::Duration;

use crate::tree::Random;

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Who made the connection.
    Client,
    /// Who accepted it.
    Server,
}

impl End {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What a link does to the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    /// The link breaks when this end has sent so many bytes: none after them arrive, and none of the other end's that
    /// are still under way.
    pub cut: Option<(End, u64)>,
    /// Nobody is told of the cut: both ends go on talking to nobody.
    pub is_silent: bool,
    /// Longest time a piece is under way.
    pub delay_max: Duration,
    /// Longest piece in bytes, at least 1.
    pub piece_len_max: u64,
    /// Bytes that one end may have under way; it has to wait with more.
    pub window_len: u64,
}

impl Trouble {
    /// Bytes arrive at once.
    pub const NONE: Self =
        Self { cut: None, is_silent: false, delay_max: Duration::ZERO, piece_len_max: u64::MAX, window_len: u64::MAX };
}

/// Two directions of bytes.
#[derive(Debug)]
pub struct Link {
    trouble: Trouble,
    random: Random,
    from_client: Direction,
    from_server: Direction,
    cut_at: Option<Duration>,
}

#[derive(Debug, Default)]
struct Direction {
    sent_len: u64,
    under_way: VecDeque<(Duration, Vec<u8>)>,
    under_way_len: u64,
    /// When the end of it arrives.
    ends: Option<Duration>,
}

impl Direction {
    fn last_arrival(&self) -> Duration {
        self.under_way.back().map_or(Duration::ZERO, |(arrival, _)| *arrival)
    }
}

impl Link {
    /// A link that nothing has gone over.
    #[must_use]
    pub fn new(trouble: Trouble, seed: u64) -> Self {
        let random = Random::new(seed);
        Self { trouble, random, from_client: Direction::default(), from_server: Direction::default(), cut_at: None }
    }

    /// `from` sends bytes, as many of them as there is room for; after a cut they go nowhere. How many were taken.
    pub fn send(&mut self, from: End, bytes: &[u8], now: Duration) -> usize {
        let Trouble { cut, piece_len_max, .. } = self.trouble;
        let bytes = &bytes[..bytes.len().min(self.room(from))];
        let mut rest = bytes;
        while self.cut_at.is_none() && !rest.is_empty() {
            let piece_len = 1 + self.random.below(piece_len_max.min(rest.len() as u64));
            let delay = self.delay();
            let direction = self.direction(from);
            let left = match cut {
                Some((end, at)) if end == from => at.saturating_sub(direction.sent_len),
                _ => u64::MAX,
            };
            let (piece, later) = rest.split_at(usize::try_from(piece_len.min(left)).expect("a piece is in memory"));
            rest = later;
            direction.sent_len += piece.len() as u64;
            direction.under_way_len += piece.len() as u64;
            let arrival = direction.last_arrival().max(now + delay);
            direction.under_way.push_back((arrival, piece.to_vec()));
            if piece_len >= left {
                self.cut_at = Some(now + self.delay());
                self.direction(from.other()).under_way.clear();
            }
        }
        if self.cut_at.is_some() {
            // They fill the sender's buffer, and stay in it.
            self.direction(from).under_way_len += rest.len() as u64;
        }
        bytes.len()
    }

    /// Bytes that `from` may send now.
    #[must_use]
    pub fn room(&self, from: End) -> usize {
        let used = match from {
            End::Client => self.from_client.under_way_len,
            End::Server => self.from_server.under_way_len,
        };
        usize::try_from(self.trouble.window_len.saturating_sub(used)).unwrap_or(usize::MAX)
    }

    /// What has arrived at `at` by now.
    pub fn receive(&mut self, at: End, now: Duration) -> Vec<u8> {
        let direction = self.direction(at.other());
        let mut bytes = Vec::new();
        while let Some((_, piece)) = direction.under_way.pop_front_if(|(arrival, _)| *arrival <= now) {
            direction.under_way_len = direction.under_way_len.saturating_sub(piece.len() as u64);
            bytes.extend(piece);
        }
        bytes
    }

    /// `from` ends the connection: the other end learns it after all that was sent before.
    pub fn close(&mut self, from: End, now: Duration) {
        let arrival = now + self.delay();
        let direction = self.direction(from);
        let arrival = arrival.max(direction.last_arrival());
        direction.ends.get_or_insert(arrival);
    }

    /// Breaks the link now: nothing that is under way arrives. `is_silent`: nobody is told.
    pub fn cut(&mut self, is_silent: bool, now: Duration) {
        if self.cut_at.is_none() {
            self.trouble.is_silent = is_silent;
            self.cut_at = Some(now + self.delay());
            self.from_client.under_way.clear();
            self.from_server.under_way.clear();
        }
    }

    /// Whether `at` has learnt by now that the connection is over, and received all that it ever will.
    #[must_use]
    pub fn is_over(&self, at: End, now: Duration) -> bool {
        self.over_at(at).is_some_and(|over_at| over_at <= now)
    }

    /// When something arrives next, at either end.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Duration> {
        let directions = [&self.from_client, &self.from_server];
        directions.into_iter().filter_map(|direction| Some(direction.under_way.front()?.0)).min()
    }

    /// When `at` has something to look at: bytes, or the end.
    #[must_use]
    pub fn next_for(&self, at: End) -> Option<Duration> {
        let direction = match at {
            End::Client => &self.from_server,
            End::Server => &self.from_client,
        };
        let bytes = direction.under_way.front().map(|(arrival, _)| *arrival);
        bytes.or_else(|| self.over_at(at))
    }

    /// Bytes that `from` has sent, up to a cut.
    #[must_use]
    pub fn sent_len(&self, from: End) -> u64 {
        match from {
            End::Client => self.from_client.sent_len,
            End::Server => self.from_server.sent_len,
        }
    }

    /// Whether the link is broken, whoever knows of it.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut_at.is_some()
    }

    fn over_at(&self, at: End) -> Option<Duration> {
        let direction = match at {
            End::Client => &self.from_server,
            End::Server => &self.from_client,
        };
        let told = self.cut_at.filter(|_| !self.trouble.is_silent);
        let closed = direction.ends.filter(|_| self.cut_at.is_none());
        let over_at = told.into_iter().chain(closed).min()?;
        Some(over_at.max(direction.last_arrival()))
    }

    fn delay(&mut self) -> Duration {
        let delay_max = u64::try_from(self.trouble.delay_max.as_micros()).expect("delays are short");
        Duration::from_micros(self.random.below(1 + delay_max))
    }

    fn direction(&mut self, from: End) -> &mut Direction {
        match from {
            End::Client => &mut self.from_client,
            End::Server => &mut self.from_server,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_secs(1);

    #[test]
    fn bytes_arrive_in_order_whatever_the_pieces() {
        let trouble = Trouble { delay_max: Duration::from_millis(50), piece_len_max: 3, ..Trouble::NONE };
        let mut link = Link::new(trouble, 7);
        let bytes: Vec<u8> = (0..200).collect();
        assert_eq!(link.send(End::Client, &bytes, Duration::ZERO), 200);
        link.close(End::Client, Duration::ZERO);
        let (mut received, mut arrivals) = (Vec::new(), 0);
        while let Some(arrival) = link.next_arrival() {
            assert!(!link.is_over(End::Server, arrival) || link.next_for(End::Server) == Some(arrival));
            received.extend(link.receive(End::Server, arrival));
            arrivals += 1;
        }
        assert_eq!(received, bytes);
        assert!(arrivals > 5, "{arrivals} arrivals");
        assert!(link.is_over(End::Server, LATER) && !link.is_over(End::Client, LATER));
    }

    #[test]
    fn a_cut_takes_what_is_under_way_and_is_told_or_not() {
        for is_silent in [false, true] {
            let mut link = Link::new(Trouble { cut: Some((End::Client, 10)), is_silent, ..Trouble::NONE }, 1);
            link.send(End::Server, b"never arrives", Duration::ZERO);
            assert_eq!(link.send(End::Client, &[1; 25], Duration::ZERO), 25);
            assert!(link.is_cut());
            assert_eq!(link.receive(End::Server, LATER), [1; 10]);
            assert!(link.receive(End::Client, LATER).is_empty());
            assert_eq!((link.is_over(End::Client, LATER), link.is_over(End::Server, LATER)), (!is_silent, !is_silent));
        }
    }

    #[test]
    fn there_is_room_again_when_bytes_have_arrived_and_none_after_a_cut() {
        let mut link = Link::new(Trouble { window_len: 10, ..Trouble::NONE }, 1);
        assert_eq!(link.send(End::Server, &[1; 25], Duration::ZERO), 10);
        assert_eq!((link.room(End::Server), link.room(End::Client)), (0, 10));
        assert_eq!(link.receive(End::Client, LATER).len(), 10);
        assert_eq!(link.room(End::Server), 10);
        link.cut(true, LATER);
        assert_eq!(link.send(End::Server, &[1; 25], LATER), 10);
        assert_eq!((link.room(End::Server), link.next_for(End::Client)), (0, None));
    }
}
