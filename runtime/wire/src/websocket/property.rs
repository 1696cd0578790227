//! What must hold for any bytes whatever, shared by the seeded tests and the fuzz target.

use super::{FrameWalk, Opcode};

/// Frames end at the same places however the bytes are cut, and every byte is passed once. The
/// first byte says how they are cut.
pub fn check_frames(input: &[u8]) {
    let Some((&size, input)) = input.split_first() else { return };
    let (whole, between) = ends(input, input.len().max(1));
    assert_eq!(ends(input, usize::from(size).max(1)), (whole.clone(), between));
    assert_eq!(ends(input, 1), (whole, between));
}

/// Where frames of `input` end, taken in pieces of `size`; and whether the last byte ends one.
fn ends(input: &[u8], size: usize) -> (Vec<(usize, Opcode)>, bool) {
    let (mut walk, mut at, mut found) = (FrameWalk::new(), 0, Vec::new());
    for mut piece in input.chunks(size) {
        while !piece.is_empty() {
            let step = walk.step(piece);
            assert!(step.bytes > 0 || step.ended.is_some(), "it goes on");
            at += step.bytes;
            piece = &piece[step.bytes..];
            found.extend(step.ended.map(|opcode| (at, opcode)));
            assert!(step.ended.is_none() || walk.is_between());
        }
    }
    assert_eq!(at, input.len());
    (found, walk.is_between())
}
