//! What must hold for any bytes whatever, shared by the seeded tests and the fuzz target.

use super::{HEADER_BYTES_MAX, Parsed, parse, write_v1, write_v2};

/// Cuts agree: what a prefix answers, more bytes do not change, and a prefix that asks for more
/// has good reason to. What is read can be written, and reads the same again.
pub fn check_header(input: &[u8]) {
    let answer = parse(input);
    for cut in 0..input.len() {
        match parse(&input[..cut]) {
            Ok(Parsed::Partial { more }) => {
                assert!(more > 0, "{cut}: asks for nothing");
                if let Ok(Parsed::Complete(header)) = &answer {
                    assert!(cut + more <= header.bytes, "{cut}: asks for {more}");
                }
            }
            part => {
                assert_eq!(part, answer, "cut at {cut}");
                break;
            }
        }
    }
    let Ok(Parsed::Complete(header)) = answer else { return };
    assert!(header.bytes <= input.len() && header.bytes <= HEADER_BYTES_MAX);
    for write in [write_v1, write_v2] {
        let mut out = Vec::new();
        write(header.addresses, &mut out);
        let length = out.len();
        out.extend_from_slice(b"behind it");
        match parse(&out) {
            Ok(Parsed::Complete(again)) => {
                assert_eq!(again.bytes, length);
                // A mapped address comes back as what it maps.
                let plain = |header: &super::Header<'_>| {
                    header.addresses.map(|ends| {
                        [ends.source, ends.destination]
                            .map(|end| (end.ip().to_canonical(), end.port()))
                    })
                };
                assert_eq!(plain(&again), plain(&header));
            }
            other => panic!("{other:?} of {out:?}"),
        }
    }
}
