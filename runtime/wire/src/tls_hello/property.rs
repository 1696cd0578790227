//! What must hold for any bytes whatever, shared by the seeded tests and the fuzz target.

use super::{HELLO_BYTES_MAX, HelloError, Parsed, parse_client_hello};

/// Cuts agree: what a prefix answers, more bytes do not change, and a prefix that asks for more
/// bytes has good reason to.
pub fn check_hello(input: &[u8]) {
    let answer = parsed(input);
    for cut in 0..input.len() {
        match parsed(&input[..cut]) {
            Answer::Partial(more) => {
                assert!(more > 0, "{cut}: asks for nothing");
                if !matches!(answer, Answer::Partial(_)) {
                    assert!(!matches!(answer, Answer::Complete(..)) || cut + more <= input.len());
                }
            }
            part => {
                assert_eq!(part, answer, "cut at {cut}");
                break;
            }
        }
    }
    if let Answer::Complete(name, protocols) = &answer {
        assert!(input.len() > 40);
        assert!(name.as_ref().is_none_or(|name| !name.is_empty() && name.is_ascii()));
        assert!(protocols.iter().all(|protocol| !protocol.is_empty()));
        assert!(protocols.iter().map(Vec::len).sum::<usize>() < HELLO_BYTES_MAX);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Partial(usize),
    Complete(Option<String>, Vec<Vec<u8>>),
    Refused(HelloError),
}

fn parsed(input: &[u8]) -> Answer {
    match parse_client_hello(input, &mut Vec::new()) {
        Ok(Parsed::Partial { more }) => Answer::Partial(more),
        Ok(Parsed::Complete(hello)) => Answer::Complete(
            hello.server_name.map(str::to_owned),
            hello.protocols.map(<[u8]>::to_vec).collect(),
        ),
        Err(error) => Answer::Refused(error),
    }
}
