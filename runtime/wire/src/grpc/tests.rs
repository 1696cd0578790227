//! Fields as gRPC's documents have them, and what is near to them.

use std::time::Duration;

use penstock_env::Rng;

use super::property::check_fields;
use super::{Code, Kind, Timeout, put_status_message};

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

#[test]
fn a_content_type_says_which_form() {
    for (field, kind) in [
        ("application/grpc", Some(Kind::Grpc)),
        ("application/grpc+proto", Some(Kind::Grpc)),
        ("Application/GRPC;charset=x", Some(Kind::Grpc)),
        ("application/grpc-web", Some(Kind::Web)),
        ("application/grpc-web+json", Some(Kind::Web)),
        ("application/grpc-web-text+proto", Some(Kind::WebText)),
        ("application/grpc-webs", None),
        ("application/grpcx", None),
        ("application/json", None),
        ("", None),
    ] {
        assert_eq!(Kind::of_field(field.as_bytes()), kind, "{field:?}");
    }
}

#[test]
fn text_in_a_field_is_printable() {
    let mut out = Vec::new();
    put_status_message("100 % of ü\r\n~", &mut out);
    assert_eq!(String::from_utf8_lossy(&out), "100 %25 of %C3%BC%0D%0A~");
}

#[test]
fn any_bytes_are_read_or_refused() {
    let mut rng = Rng::new(9);
    let seeds: [&[u8]; 4] =
        [b"12345678m", b"application/grpc-web-text+proto", b"application/grpc", b"16"];
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
        check_fields(&input);
    }
}
