//! Fields and bodies as gRPC's documents have them, and what is near to them.

use std::time::Duration;

use penstock_env::Rng;

use super::property::check_grpc;
use super::{
    Code, Kind, MessageError, MessageReader, Messages, TextDecoder, TextError, Timeout,
    put_status_message, put_text, put_trailers, status_message,
};

#[test]
fn a_timeout_is_up_to_eight_digits_and_a_unit() {
    for (field, ms) in [
        ("1H", Some(3_600_000)),
        ("2M", Some(120_000)),
        ("00000003S", Some(3_000)),
        ("99999999m", Some(99_999_999)),
        ("5000u", Some(5)),
        ("7000000n", Some(7)),
        ("0S", Some(0)),
        ("123456789m", None),
        ("1", None),
        ("S", None),
        ("", None),
        ("1s", None),
        ("-1S", None),
        ("+1S", None),
        ("1 S", None),
        ("1.5S", None),
    ] {
        let read = Timeout::of_field(field.as_bytes()).map(Timeout::duration);
        assert_eq!(read, ms.map(Duration::from_millis), "{field:?}");
    }
}

#[test]
fn a_timeout_is_written_in_the_finest_unit_that_has_room() {
    for (left, field) in [
        (Duration::ZERO, "1n"),
        (Duration::from_nanos(99_999_999), "99999999n"),
        (Duration::from_nanos(100_000_999), "100000u"),
        (Duration::from_secs(100), "100000m"),
        (Duration::from_secs(100_000), "100000S"),
        (Duration::from_secs(100_000_000), "1666666M"),
        (Duration::from_secs(99_999_999 * 60 + 60), "1666666H"),
        (Duration::MAX, "99999999H"),
    ] {
        let mut out = Vec::new();
        Timeout::of(left).put(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), field);
    }
}

#[test]
fn a_status_is_a_number_without_leading_zeros() {
    for (index, code) in Code::ALL.into_iter().enumerate() {
        assert_eq!(code as usize, index);
        assert_eq!(format!("{code:?}").to_uppercase(), code.name().replace('_', ""));
        assert_eq!(Code::of_field(code.digits().as_bytes()), Some(code));
    }
    for (field, code) in [
        ("17", Some(Code::Unknown)),
        ("300", Some(Code::Unknown)),
        ("99999999999999999999", Some(Code::Unknown)),
        ("00", None),
        ("007", None),
        ("", None),
        ("-1", None),
        ("OK", None),
        ("1x3", None),
    ] {
        assert_eq!(Code::of_field(field.as_bytes()), code, "{field:?}");
    }
}

#[test]
fn an_answer_without_a_status_gets_one_from_http() {
    for (http, code) in [
        (200, Code::Unknown),
        (400, Code::Internal),
        (401, Code::Unauthenticated),
        (403, Code::PermissionDenied),
        (404, Code::Unimplemented),
        (429, Code::Unavailable),
        (500, Code::Unknown),
        (502, Code::Unavailable),
        (503, Code::Unavailable),
        (504, Code::Unavailable),
    ] {
        assert_eq!(Code::of_http_status(http), code, "{http}");
    }
}

/// The first message of a body, read with a limit of four bytes, however it is cut.
#[track_caller]
fn check_read(body: &[u8], expected: Result<Option<&[u8]>, MessageError>) {
    for cut in 0..=body.len() {
        let mut reader = MessageReader::new(4);
        let mut pieces = [&body[..cut], &body[cut..]].into_iter();
        let read = pieces.find_map(|mut piece| reader.read(&mut piece).transpose()).transpose();
        assert_eq!(read.as_ref().map(Option::as_deref), expected.as_ref().map(|found| *found));
    }
}

#[test]
fn a_message_is_read_as_far_as_it_may() {
    check_read(b"\0\0\0\0\x04abcdrest", Ok(Some(b"abcd")));
    check_read(b"\0\0\0\0\0rest", Ok(Some(b"")));
    check_read(b"\0\0\0\0\x04abc", Ok(None));
    check_read(b"\0\0\0", Ok(None));
    check_read(b"\0\0\0\0\x05", Err(MessageError::TooLong { bytes: 5, max: 4 }));
    check_read(b"\0\xff\xff\xff\xff", Err(MessageError::TooLong { bytes: u32::MAX, max: 4 }));
    check_read(b"\x01\0\0\0\x01a", Err(MessageError::Compressed));
    check_read(b"\x80\0\0\0\x01a", Err(MessageError::UnknownFlag(0x80)));
}

#[test]
fn a_status_message_is_read_whatever_it_is() {
    for (field, text) in [
        ("plain", "plain"),
        ("100 %25 %C3%a4", "100 % \u{e4}"),
        ("%", "%"),
        ("%2", "%2"),
        ("%zz%41", "%zzA"),
        ("%ff", "\u{fffd}"),
    ] {
        assert_eq!(status_message(field.as_bytes()), text, "{field:?}");
    }
}

#[test]
fn a_content_type_says_which_form() {
    for (field, kind, plain) in [
        ("application/grpc", Some(Kind::Grpc), "application/grpc"),
        ("application/grpc+proto", Some(Kind::Grpc), "application/grpc+proto"),
        ("Application/GRPC;charset=x", Some(Kind::Grpc), "application/grpc;charset=x"),
        ("application/grpc-web", Some(Kind::Web), "application/grpc"),
        ("application/grpc-web+json", Some(Kind::Web), "application/grpc+json"),
        ("application/grpc-web-text+proto", Some(Kind::WebText), "application/grpc+proto"),
        ("application/grpc-webs", None, ""),
        ("application/grpcx", None, ""),
        ("application/json", None, ""),
        ("", None, ""),
    ] {
        assert_eq!(Kind::of_field(field.as_bytes()), kind, "{field:?}");
        let renamed = Kind::renamed(field.as_bytes(), Kind::Grpc);
        assert_eq!(renamed, kind.map(|_| plain.as_bytes().to_vec()), "{field:?}");
    }
}

#[test]
fn messages_are_counted_and_a_cut_one_is_seen() {
    for (body, count, whole, sound) in [
        (&b""[..], 0, true, true),
        (b"\0\0\0\0\0", 1, true, true),
        (b"\0\0\0\0\x02ab\x01\0\0\0\x01c", 2, true, true),
        (b"\0\0\0\0\x02a", 1, false, true),
        (b"\0\0", 1, false, true),
        (b"\0\0\0\0\0\0", 2, false, true),
        (b"GET /", 1, false, false),
    ] {
        let mut messages = Messages::default();
        messages.feed(body);
        let seen = (messages.count(), messages.is_whole(), messages.is_sound());
        assert_eq!(seen, (count, whole, sound), "{body:?}");
    }
}

#[test]
fn text_in_a_field_is_printable() {
    let mut out = Vec::new();
    put_status_message("100 % of ü\r\n~", &mut out);
    assert_eq!(String::from_utf8_lossy(&out), "100 %25 of %C3%BC%0D%0A~");
}

#[test]
fn trailers_become_the_last_frame() {
    let fields = [(&b"Grpc-Status"[..], &b"0"[..]), (b"grpc-message", b"fine")];
    let mut out = Vec::new();
    put_trailers(fields.into_iter(), &mut out);
    assert_eq!(out, b"\x80\0\0\0\x24grpc-status: 0\r\ngrpc-message: fine\r\n");
}

#[test]
fn text_may_be_padded_between_pieces() {
    for (text, read) in [
        (&b""[..], Ok((&b""[..], true))),
        (b"YWJj", Ok((b"abc", true))),
        (b"YQ==YmM=ZGVm", Ok((b"abcdef", true))),
        (b"YWJjZ", Ok((b"abc", false))),
        (b"Y===", Err(TextError)),
        (b"YQ=a", Err(TextError)),
        (b"====", Err(TextError)),
        (b"YW\r\n", Err(TextError)),
        (b"YR==", Err(TextError)),
    ] {
        let (mut decoder, mut out) = (TextDecoder::default(), Vec::new());
        let answer = decoder.feed(text, &mut out).map(|()| (&out[..], decoder.is_whole()));
        assert_eq!(answer, read, "{text:?}");
    }
    let mut out = Vec::new();
    put_text(b"a", &mut out);
    put_text(b"", &mut out);
    put_text(b"bcd", &mut out);
    assert_eq!(out, b"YQ==YmNk");
}

#[test]
fn any_bytes_are_read_or_refused() {
    let mut rng = Rng::new(9);
    let seeds: [&[u8]; 6] = [
        b"\x03\0\0\0\0\x02ab\x01\0\0\0\x01c",
        b"\x05YQ==YmM=ZGVm",
        b"12345678m",
        b"application/grpc-web-text+proto",
        b"16",
        b"\x01\x80\0\0\0\x04a: b",
    ];
    for _ in 0..20_000 {
        let mut input = seeds[rng.below(seeds.len() as u32) as usize].to_vec();
        for _ in 0..rng.below(4) {
            let place = rng.below(input.len() as u32) as usize;
            match rng.below(3) {
                0 => input[place] = rng.below(256) as u8,
                1 => input.insert(place, rng.below(256) as u8),
                _ => input.truncate(place.max(1)),
            }
        }
        check_grpc(&input);
    }
}
