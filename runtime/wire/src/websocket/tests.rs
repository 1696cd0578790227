//! Frames cut at every byte, and the handshake of RFC 6455's own example.

use penstock_env::Rng;

use super::property::check_frames;
use super::{FrameWalk, KEY_BYTES, Opcode, Step, accept_of, key_of, write_control};

/// A frame as it goes over the wire; the payload is `length` times `x`, masked with nothing.
fn frame(first: u8, length: usize, masked: bool) -> Vec<u8> {
    let mask = u8::from(masked) << 7;
    let mut bytes = vec![first];
    match length {
        0..126 => bytes.push(mask | length as u8),
        126..65_536 => {
            bytes.push(mask | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(mask | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(vec![0; if masked { 4 } else { 0 }]);
    bytes.extend(vec![b'x'; length]);
    bytes
}

#[test]
fn frames_end_where_their_lengths_say_however_they_are_cut() {
    let (mut bytes, mut expected) = (Vec::new(), Vec::new());
    for (first, opcode, length) in [
        (0x81, Opcode::Text, 0),
        (0x82, Opcode::Binary, 125),
        (0x01, Opcode::Text, 126),
        (0x89, Opcode::Ping, 4),
        (0x80, Opcode::Continuation, 65_535),
        (0xc2, Opcode::Binary, 65_536),
        (0x8a, Opcode::Pong, 0),
        (0x8b, Opcode::Other(11), 1),
        (0x88, Opcode::Close, 2),
    ] {
        for masked in [false, true] {
            bytes.extend(frame(first, length, masked));
            expected.push((bytes.len(), opcode));
        }
    }
    for size in [1, 2, 3, 7, 1_000, 65_540, bytes.len()] {
        let (mut walk, mut at, mut found) = (FrameWalk::new(), 0, Vec::new());
        for mut piece in bytes.chunks(size) {
            while !piece.is_empty() {
                let step = walk.step(piece);
                at += step.bytes;
                piece = &piece[step.bytes..];
                found.extend(step.ended.map(|opcode| (at, opcode)));
            }
        }
        assert_eq!(found, expected, "in pieces of {size}");
        assert!(walk.is_between());
    }
    let mut walk = FrameWalk::new();
    assert_eq!(walk.under_way(), None);
    walk.step(&bytes[..1]);
    assert_eq!(walk.under_way(), Some(Opcode::Text));
    walk.step(&bytes[1..2]);
    assert_eq!(walk.under_way(), None);
}

/// RFC 6455 §5.2: the most significant bit of a length is 0.
#[test]
fn behind_a_length_that_is_none_there_is_no_place_between_frames() {
    let mut walk = FrameWalk::new();
    let bytes = [0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x81, 0];
    assert_eq!(walk.step(&bytes), Step { bytes: 12, ended: None });
    assert!(!walk.is_between() && walk.under_way().is_none());
    assert_eq!(walk.step(&[0x81, 0]), Step { bytes: 2, ended: None });
    let mut walk = FrameWalk::new();
    let largest = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    assert_eq!(walk.step(&largest), Step { bytes: 11, ended: None });
}

#[test]
fn any_bytes_are_walked_over_alike_in_any_pieces() {
    let mut rng = Rng::new(7);
    for _ in 0..2_000 {
        let length = rng.below(400) as usize;
        // Short lengths, so that frames end.
        let byte =
            |rng: &mut Rng| (rng.next_u64() & 0xff) as u8 & [0xff, 0x87][rng.below(2) as usize];
        let bytes: Vec<u8> = (0..length).map(|_| byte(&mut rng)).collect();
        check_frames(&bytes);
    }
}

#[test]
fn control_frames_are_masked_toward_servers_alone() {
    let mut out = Vec::new();
    write_control(Opcode::Close, &1001_u16.to_be_bytes(), None, &mut out);
    assert_eq!(out, [0x88, 2, 0x03, 0xe9]);
    out.clear();
    // RFC 6455 §5.7: a masked pong that says "Hello".
    write_control(Opcode::Pong, b"Hello", Some([0x37, 0xfa, 0x21, 0x3d]), &mut out);
    assert_eq!(out, [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    let step = FrameWalk::new().step(&out);
    assert_eq!(step, Step { bytes: out.len(), ended: Some(Opcode::Pong) });
}

/// RFC 6455 §1.3.
#[test]
fn a_key_is_accepted_with_its_hash() {
    assert_eq!(accept_of(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(key_of(*b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(key_of([0xff; 16]).len(), KEY_BYTES);
}
