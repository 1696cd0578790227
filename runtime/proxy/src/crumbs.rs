//! Buffers for what peers say bit by bit: how many of them there are, and how full, peers decide.

/// Up to here a buffer is kept for what comes next.
const KEPT_BYTES_MAX: usize = 4 * 1024;

/// Adds `bytes`, and leaves room for no more than a quarter of what is there beside them.
pub(crate) fn add(buffer: &mut Vec<u8>, bytes: &[u8]) {
    if buffer.capacity() - buffer.len() < bytes.len() {
        buffer.reserve_exact(bytes.len().max(buffer.len() / 4));
    }
    buffer.extend_from_slice(bytes);
}

/// Forgets what is in `buffer`, and gives its memory back if that is much.
pub(crate) fn give_back(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(KEPT_BYTES_MAX);
}

#[cfg(test)]
mod tests {
    use super::{KEPT_BYTES_MAX, add, give_back};

    #[test]
    fn what_comes_in_crumbs_takes_little_more_than_they_do() {
        let (mut buffer, mut moves) = (Vec::new(), 0);
        for _ in 0..60_000 {
            let before = buffer.capacity();
            add(&mut buffer, b"x");
            moves += usize::from(buffer.capacity() != before);
        }
        assert!(buffer.capacity() <= buffer.len() * 5 / 4 + 1, "{}", buffer.capacity());
        assert!(moves < 60, "{moves}");
        give_back(&mut buffer);
        assert!(buffer.is_empty() && buffer.capacity() <= KEPT_BYTES_MAX);
    }
}
