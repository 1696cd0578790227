//! "Did you mean": the known word nearest to a mistyped one, by edit distance.
//!
//! Not for ranking search results: it answers with one word or none.

/// The candidate that `word` was most likely meant to be, if one is near enough.
///
/// Near enough is one edit per three letters, at least one but not all; or one word being the
/// head or the tail of the other (`requests_max` for `requests`). Words over `WORD_BYTES_MAX`
/// bytes get no suggestion, so that a hostile file cannot buy quadratic work.
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
        let is_part = |part: &str, whole: &str| {
            part.len() >= 4 && (whole.starts_with(part) || whole.ends_with(part))
        };
        let is_part = is_part(&lower, &known) || is_part(&known, &lower);
        // Every byte of difference in length is an edit at least.
        let differs = lower.len().abs_diff(known.len());
        if !is_part && differs > allowed {
            return None;
        }
        let edits = distance(&lower, &known);
        (edits <= allowed || is_part).then_some(edits)
    };
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= WORD_BYTES_MAX)
        .filter_map(|candidate| near(&candidate).map(|edits| (edits, candidate)))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) that turn `from` into `to`: the optimal
/// string alignment distance (Boytsov 2011, §3.1), on bytes because keys are ASCII. Both words
/// have at most `WORD_BYTES_MAX` of them.
fn distance(from: &str, to: &str) -> usize {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    // Three rows of the table are enough: the one being filled and the two above it.
    let mut rows = [[0; WORD_BYTES_MAX + 1]; 3];
    let [before, above, current] = &mut rows;
    for (column, edits) in above.iter_mut().enumerate() {
        *edits = column;
    }
    for row in 1..=from.len() {
        current[0] = row;
        for column in 1..=to.len() {
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
        std::mem::swap(before, above);
        std::mem::swap(above, current);
    }
    above[to.len()]
}

/// Longest word that is compared: names are at most 64 bytes, keys far less.
const WORD_BYTES_MAX: usize = 64;
