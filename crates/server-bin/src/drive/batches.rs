//! [`each_batch`]: reads on while what was read is worked on.

use std::panic::resume_unwind;
use std::thread;

/// Hands `take` what `read` finds behind `mark`, and behind the last of each batch of `len` from then on, to the end. While one
/// batch is taken the next is read.
///
/// # Errors
/// The first that `read` or `take` fails with; nothing is taken any more then.
pub(super) fn each_batch<T: Send, M: Send, E: Send>(
    len: usize,
    mark: M,
    mark_of: impl Fn(&T) -> M,
    read: impl Fn(M) -> Result<Vec<T>, E> + Sync,
    mut take: impl FnMut(Vec<T>) -> Result<(), E>,
) -> Result<(), E> {
    let read = &read;
    let mut batch = read(mark)?;
    thread::scope(|scope| {
        loop {
            let next = batch.last().filter(|_| batch.len() >= len).map(&mark_of);
            let reading = next.map(|mark| scope.spawn(move || read(mark)));
            take(batch)?;
            match reading {
                Some(reading) => batch = reading.join().unwrap_or_else(|panic| resume_unwind(panic))?,
                None => return Ok(()),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers from 1 to 10, three at a time.
    fn numbers(after: u32) -> Result<Vec<u32>, String> {
        Ok((after + 1..=10).take(3).collect())
    }

    fn taken(count: u32, read: impl Fn(u32) -> Result<Vec<u32>, String> + Sync) -> (Vec<u32>, Result<(), String>) {
        let mut taken = Vec::new();
        let result = each_batch(
            3,
            0,
            |last| *last,
            read,
            |batch| {
                taken.extend(batch);
                if taken.len() < count as usize { Ok(()) } else { Err("enough".to_owned()) }
            },
        );
        (taken, result)
    }

    #[test]
    fn everything_is_taken_once_and_in_order() {
        assert_eq!(taken(100, numbers), ((1..=10).collect(), Ok(())));
        // The last batch is a whole one.
        let nine = |after| numbers(after).map(|batch| batch.into_iter().filter(|number| *number < 10).collect());
        assert_eq!(taken(100, nine), ((1..=9).collect(), Ok(())));
        assert_eq!(taken(100, |_| Ok(Vec::new())), (vec![], Ok(())));
    }

    #[test]
    fn what_fails_ends_it() {
        assert_eq!(taken(4, numbers), ((1..=6).collect(), Err("enough".to_owned())));
        let broken = |after| if after < 6 { numbers(after) } else { Err("unreadable".to_owned()) };
        assert_eq!(taken(100, broken), ((1..=6).collect(), Err("unreadable".to_owned())));
        assert_eq!(taken(100, |_| Err("unreadable".to_owned())), (vec![], Err("unreadable".to_owned())));
    }
}
