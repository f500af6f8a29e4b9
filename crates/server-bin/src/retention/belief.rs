//! [`believed_times`]: when snapshots were received, where the clock was wrong at times and the order never.

/// For each snapshot, in the order of receipt, the latest time at which it may have been received; `None` where nobody can
/// tell. Ascending.
///
/// The largest set of times that agree with the order and do not lie after `now_ms` is believed. Any other snapshot was
/// received before the next of those that are believed, and counts as received with it. `O(n log n)`.
pub(super) fn believed_times(received_ms: &[i64], now_ms: i64) -> Vec<Option<i64>> {
    let is_believed = longest_ascending(received_ms, now_ms);
    let mut times = vec![None; received_ms.len()];
    let mut next = None;
    for index in (0..received_ms.len()).rev() {
        if is_believed[index] {
            next = Some(received_ms[index]);
        }
        times[index] = next;
    }
    times
}

/// Marks the longest subsequence that never descends, of the values up to `max`; of several, the one with the highest
/// values, since what is taken for younger than it is stays.
fn longest_ascending(values: &[i64], max: i64) -> Vec<bool> {
    // From the right: the first element of the best subsequence of each length, which is the one with the highest value.
    let mut firsts: Vec<usize> = Vec::new();
    let mut after: Vec<Option<usize>> = vec![None; values.len()];
    for (index, value) in values.iter().enumerate().rev().filter(|(_, value)| **value <= max) {
        let len = firsts.partition_point(|first| values[*first] >= *value);
        after[index] = len.checked_sub(1).map(|shorter| firsts[shorter]);
        match firsts.get_mut(len) {
            Some(first) => *first = index,
            None => firsts.push(index),
        }
    }
    let mut marks = vec![false; values.len()];
    let mut next = firsts.last().copied();
    while let Some(index) = next {
        marks[index] = true;
        next = after[index];
    }
    marks
}
