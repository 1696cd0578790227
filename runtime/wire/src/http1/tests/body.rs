//! Bodies: by length, by chunks, until the close; each row whole and in steps of every size.

use crate::http1::{BodyDecoder, BodyError, BodyLimits, Framing, Lenient, chunk};

const LIMITS: BodyLimits =
    BodyLimits { extension_bytes_max: 8, trailer_bytes_max: 40, trailer_fields_max: 2 };

/// The content and how many bytes were left over, or the error.
type Answer = Result<(&'static str, usize), BodyError>;

#[track_caller]
fn check(framing: Framing, input: &str, expected: Answer) {
    for step in 1..=input.len().max(1) {
        let mut decoder = BodyDecoder::for_request(framing, &LIMITS, Lenient::NONE);
        let answer = run(&mut decoder, input.as_bytes(), step);
        let expected = expected.map(|(content, left)| (content.as_bytes().to_vec(), left));
        assert_eq!(answer, expected, "{input:?} in steps of {step}");
    }
}

fn run(
    decoder: &mut BodyDecoder,
    input: &[u8],
    step: usize,
) -> Result<(Vec<u8>, usize), BodyError> {
    let mut content = Vec::new();
    let mut consumed = 0;
    while consumed < input.len() && !decoder.is_done() {
        let read = &input[consumed..input.len().min(consumed + step)];
        let step = decoder.decode(read)?;
        content.extend_from_slice(&read[step.data]);
        consumed += step.consumed;
    }
    decoder.finish()?;
    Ok((content, input.len() - consumed))
}

#[track_caller]
fn chunked(input: &str, expected: Answer) {
    check(Framing::Chunked, input, expected);
}

#[test]
fn lengths_are_counted_and_the_rest_is_left() {
    check(Framing::Length(5), "hello", Ok(("hello", 0)));
    check(Framing::Length(5), "helloGET", Ok(("hello", 3)));
    check(Framing::Length(5), "hell", Err(BodyError::Truncated));
    check(Framing::Length(0), "GET", Ok(("", 3)));
    check(Framing::None, "GET", Ok(("", 3)));
    check(Framing::UntilClose, "hello", Ok(("hello", 0)));
}

#[test]
fn chunks_are_joined_and_the_rest_is_left() {
    // RFC 9112 §7.1.
    chunked("0\r\n\r\n", Ok(("", 0)));
    chunked("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\nGET", Ok(("hello!", 3)));
    chunked("00A\r\n0123456789\r\n000\r\n\r\n", Ok(("0123456789", 0)));
    chunked("a\r\n0123456789\r\n0\r\n\r\n", Ok(("0123456789", 0)));
    // RFC 9112 §8: without the last chunk the body is incomplete.
    chunked("5\r\nhello\r\n", Err(BodyError::Truncated));
    chunked("5\r\nhello\r\n0\r\n", Err(BodyError::Truncated));
}

#[test]
fn chunk_sizes_are_plain_hexadecimal_numbers() {
    for (input, found) in [
        ("\r\n", b'\r'),
        ("g\r\n", b'g'),
        (" 5\r\n", b' '),
        ("+5\r\n", b'+'),
        ("-5\r\n", b'-'),
        ("0x5\r\n", b'x'),
        ("5 \r\n", b'\r'),
        ("5\t5\r\n", b'5'),
        ("5_0\r\n", b'_'),
        (";a\r\n", b';'),
        ("5\0\r\n", b'\0'),
        ("5\nhello", b'\n'),
    ] {
        chunked(input, Err(BodyError::InvalidChunkSize { found }));
    }
    chunked("fffffffffffffffff\r\n", Err(BodyError::ChunkTooLarge));
    chunked("00000000000000005\r\n", Err(BodyError::ChunkTooLarge));
    chunked("ffffffffffffffff\r\n", Err(BodyError::Truncated));
}

#[test]
fn chunk_lines_end_in_crlf() {
    // RFC 9112 §7.1; bare LF is for heads alone, and there only by waiver.
    let found = |found| Err(BodyError::InvalidLineEnd { found });
    chunked("5\rhello\r\n0\r\n\r\n", found(b'h'));
    chunked("5\r\nhello\n0\r\n\r\n", found(b'\n'));
    chunked("5\r\nhelloX\r\n0\r\n\r\n", found(b'X'));
    chunked("5\r\nhello\r0\r\n\r\n", found(b'0'));
    chunked("0\r\n\n", found(b'\n'));
    chunked("0\r\nX: 1\n\r\n", found(b'\n'));
    let control = |found| Err(BodyError::InvalidChunkExtension { found });
    chunked("5;a\nhello", control(b'\n'));
    chunked("5;a\0\r\n", control(b'\0'));
}

#[test]
fn extensions_are_dropped_and_counted_over_the_whole_body() {
    // RFC 9112 §7.1.1; the limit of 8 bytes is for both chunks together.
    chunked("5;a=b\r\nhello\r\n0;c\r\n\r\n", Ok(("hello", 0)));
    chunked("5 \t;a=\"b\"\r\nhello\r\n0\r\n\r\n", Ok(("hello", 0)));
    let over = Err(BodyError::ChunkExtensionTooLong { max: 8 });
    chunked("5;a=bcdefgh\r\nhello\r\n0\r\n\r\n", over);
    chunked("1;abcd\r\nx\r\n1;abcde\r\ny\r\n0\r\n\r\n", over);
    chunked("5         ;\r\n", over);
}

#[test]
fn trailers_are_collected_and_the_forbidden_ones_die() {
    // RFC 9110 §6.5.1.
    let input = b"0\r\nGrpc-Status: 0\r\nContent-Length: 5\r\n\r\n";
    let mut decoder = BodyDecoder::for_request(Framing::Chunked, &LIMITS, Lenient::NONE);
    assert_eq!(run(&mut decoder, input, 1), Ok((Vec::new(), 0)));
    let fields: Vec<_> = decoder.trailers().iter().collect();
    assert_eq!(fields, [(b"Grpc-Status".as_slice(), b"0".as_slice())]);
    let mut out = Vec::new();
    chunk::write_last_chunk(&mut out, Some(decoder.trailers()));
    assert_eq!(out, b"0\r\nGrpc-Status: 0\r\n\r\n");
    decoder.restart(Framing::Chunked);
    assert_eq!(run(&mut decoder, b"0\r\n\r\n", 5), Ok((Vec::new(), 0)));
    assert_eq!(decoder.trailers().count(), 0);
}

#[test]
fn trailers_keep_their_limits_and_their_syntax() {
    let large = Err(BodyError::TrailersTooLarge { max: 40 });
    chunked("0\r\nX: 345678901234567890123456789012345678\r\n\r\n", large);
    // Two lines of 19 bytes and the empty line make 40.
    chunked("0\r\nX: 34567890123456\r\nX: 34567890123456\r\n\r\n", Ok(("", 0)));
    let many = Err(BodyError::TooManyTrailers { max: 2 });
    chunked("0\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n", many);
    for line in ["X", " X: 1", "X : 1", ": 1", "X: a\0", "X: a\rb"] {
        chunked(&format!("0\r\n{line}\r\n\r\n"), Err(BodyError::InvalidTrailer));
    }
}

#[test]
fn underscores_in_trailers_fare_as_in_heads() {
    for (mut decoder, count) in [
        (BodyDecoder::for_request(Framing::Chunked, &LIMITS, Lenient::NONE), 0),
        (BodyDecoder::for_request(Framing::Chunked, &LIMITS, Lenient::UNDERSCORE), 1),
        (BodyDecoder::for_response(Framing::Chunked, &LIMITS), 1),
    ] {
        assert_eq!(run(&mut decoder, b"0\r\nx_y: 1\r\n\r\n", 99), Ok((Vec::new(), 0)));
        assert_eq!(decoder.trailers().count(), count);
    }
}

#[test]
fn content_before_an_error_is_handed_out() {
    let mut decoder = BodyDecoder::for_response(Framing::Chunked, &LIMITS);
    let input = b"5\r\nhello!";
    let step = decoder.decode(input).expect("the chunk itself is in order");
    assert_eq!((&input[step.data], step.done), (b"hello".as_slice(), false));
    let error = BodyError::InvalidLineEnd { found: b'!' };
    assert_eq!(decoder.decode(&input[step.consumed..]), Err(error));
    assert_eq!(decoder.finish(), Err(error));
}

#[test]
fn one_call_takes_a_chunk_and_the_end_behind_it() {
    let mut decoder = BodyDecoder::for_response(Framing::Chunked, &LIMITS);
    let input = b"5\r\nhello\r\n0\r\n\r\n";
    let step = decoder.decode(input).expect("nothing is wrong with it");
    assert_eq!((step.consumed, step.data, step.done), (input.len(), 3..8, true));
}

#[test]
fn chunk_heads_are_hexadecimal() {
    for (bytes, expected) in [(1, "1\r\n"), (255, "ff\r\n"), (usize::MAX, "ffffffffffffffff\r\n")] {
        let mut out = Vec::new();
        chunk::write_chunk_head(&mut out, bytes);
        assert_eq!(out, expected.as_bytes());
    }
}
