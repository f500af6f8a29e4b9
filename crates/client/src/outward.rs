//! [`outward`]: the indexes around one, nearest first.

/// `center`, then the indexes around it, nearest first.
pub(crate) fn outward(center: usize, len: usize) -> impl Iterator<Item = usize> {
    let down = (0..=center).rev().map(Some).chain(std::iter::repeat(None));
    let up = (center + 1..len).map(Some).chain(std::iter::repeat(None));
    down.zip(up).take(len).flat_map(|(down, up)| [down, up]).flatten().filter(move |index| *index < len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outward_visits_all_once() {
        for len in 1..8 {
            for center in 0..len {
                let mut visited: Vec<usize> = outward(center, len).collect();
                assert_eq!(visited[0], center);
                visited.sort_unstable();
                assert_eq!(visited, (0..len).collect::<Vec<_>>());
            }
        }
    }
}
