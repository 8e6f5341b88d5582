//! Which known word somebody who mistyped one most likely meant.

/// The word nearest to `wrong`, if any is near.
pub(super) fn nearest<'a>(wrong: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    words
        .map(|word| (distance(wrong, word), word))
        .filter(|(distance, word)| *distance <= word.len().max(wrong.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many letters must be added, left out, changed or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<_>>()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let changed = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let words = ["packet_size_max", "inflight_max", "workers"];
        let near = |wrong| nearest(wrong, words.into_iter());
        assert_eq!(near("packet_size"), Some("packet_size_max"));
        assert_eq!(near("max_packet_size"), None);
        assert_eq!(near("wokrers"), Some("workers"));
        assert_eq!(near("inflght_max"), Some("inflight_max"));
        assert_eq!(near("banana"), None);
    }
}
