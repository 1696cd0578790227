//! The preface and the walk over frames, cut at every byte.

use super::{FrameHead, FrameKind, FrameWalk, PREFACE, Preface};

#[test]
fn a_connection_is_told_by_its_first_bytes() {
    for end in 0..PREFACE.len() {
        assert_eq!(Preface::of(&PREFACE[..end]), Preface::Part);
    }
    assert_eq!(Preface::of(PREFACE), Preface::Whole);
    assert_eq!(Preface::of(&[&PREFACE[..], b"\0\0\0"].concat()), Preface::Whole);
    for other in [&b"GET / HTTP/1.1\r\n"[..], b"PUT /", b"PRI * HTTP/1.1\r\n", b"\x16\x03\x01"] {
        assert_eq!(Preface::of(other), Preface::Other, "{other:?}");
    }
}

/// A frame as it goes over the wire.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

#[test]
fn frames_are_found_however_they_are_cut() {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]));
    bytes.extend(frame(1, 5, 1, &[0x82; 40]));
    // The reserved bit of the stream's number is set.
    bytes.extend(frame(0, 1, 0x8000_0001, b""));
    bytes.extend(frame(0xfa, 0, 0, &[7; 300]));
    bytes.extend(frame(6, 1, 0, &[0; 8]));
    let head =
        |payload_bytes, kind, flags, stream| FrameHead { payload_bytes, kind, flags, stream };
    let expected = [
        head(6, FrameKind::Settings, 0, 0),
        head(40, FrameKind::Headers, 5, 1),
        head(0, FrameKind::Data, FrameHead::END_STREAM, 1),
        head(300, FrameKind::Other(0xfa), 0, 0),
        head(8, FrameKind::Ping, FrameHead::ACK, 0),
    ];
    for size in 1..=bytes.len() {
        let (mut walk, mut found) = (FrameWalk::behind_preface(), Vec::new());
        for mut piece in bytes.chunks(size) {
            while let Some(head) = walk.next(&mut piece) {
                found.push(head);
            }
            assert!(piece.is_empty());
        }
        assert_eq!(found, expected, "in pieces of {size}");
        assert!(walk.is_between());
    }
}
