//! "Did you mean": the known word nearest to a mistyped one, by edit distance.
//!
//! Not for ranking search results: it answers with one word or none.

/// The candidate that `word` was most likely meant to be, if one is near enough.
///
/// Near enough is one edit per three letters, at least one but not all; or one word being the
/// head of the other (`requests_max` for `requests`). Words over
/// `WORD_BYTES_MAX` bytes get no suggestion, so that a hostile file cannot buy quadratic work.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let lower = word.to_ascii_lowercase().replace('_', "-");
    let near = |candidate: &&str| {
        let known = candidate.to_ascii_lowercase().replace('_', "-");
        let longer = lower.len().max(known.len());
        let allowed = (longer / 3).max(1).min(longer.saturating_sub(1));
        let edits = distance(&lower, &known);
        let headed = known.len() >= 4 && (lower.starts_with(&known))
            || lower.len() >= 4 && known.starts_with(&lower);
        (edits <= allowed || headed).then_some(edits)
    };
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= WORD_BYTES_MAX)
        .filter_map(|candidate| near(&candidate).map(|edits| (edits, candidate)))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) that turn `from` into `to`: the optimal
/// string alignment distance (Boytsov 2011, §3.1), on bytes because keys are ASCII.
fn distance(from: &str, to: &str) -> usize {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let width = to.len() + 1;
    let mut before: Vec<usize> = vec![0; width];
    let mut above: Vec<usize> = (0..width).collect();
    for row in 1..=from.len() {
        let mut current = vec![row; width];
        for column in 1..width {
            let same = from[row - 1] == to[column - 1];
            let mut edits = (above[column - 1] + usize::from(!same))
                .min(above[column] + 1)
                .min(current[column - 1] + 1);
            let swapped = row > 1
                && column > 1
                && from[row - 1] == to[column - 2]
                && from[row - 2] == to[column - 1];
            if swapped {
                edits = edits.min(before[column - 2] + 1);
            }
            current[column] = edits;
        }
        before = std::mem::replace(&mut above, current);
    }
    above[to.len()]
}

/// Longest word that is compared: names are at most 64 bytes, keys far less.
const WORD_BYTES_MAX: usize = 64;
