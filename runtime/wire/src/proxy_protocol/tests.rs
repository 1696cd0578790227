//! Headers of others, by hand, changed, and written by us.

use penstock_env::Rng;

use super::property::check_header;
use super::{
    Addresses, HeaderError, Parsed, crc32c, parse, write_v1, write_v2, write_v2_for_datagrams,
};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn addresses(source: &str, destination: &str) -> Option<Addresses> {
    let end = |text: &str| text.parse().expect("an address");
    Some(Addresses { source: end(source), destination: end(destination) })
}

#[track_caller]
fn check(input: &[u8], bytes: usize, expected: Option<Addresses>) {
    check_header(input);
    match parse(input) {
        Ok(Parsed::Complete(header)) => {
            assert_eq!((header.bytes, header.addresses), (bytes, expected));
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(input: &[u8], expected: HeaderError) {
    check_header(input);
    assert_eq!(parse(input), Err(expected), "{:?}", String::from_utf8_lossy(input));
}

/// A header of version 2.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("short enough").to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, block].concat()
}

const ENDS_4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("short enough").to_be_bytes();
    [&[kind], &length[..], value].concat()
}

#[test]
fn lines_of_version_1() {
    let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nGET /";
    check(line, line.len() - 5, addresses("192.0.2.1:56324", "198.51.100.2:443"));
    let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n";
    check(line, line.len(), addresses("[2001:db8::1]:1", "[2001:db8::2]:65535"));
    check(b"PROXY UNKNOWN\r\n", 15, None);
    check(b"PROXY UNKNOWN ffff::1 and more\r\n\r\n", 32, None);
}

// §2.1: exactly one space, canonical numbers, CRLF.
#[test]
fn lines_that_others_might_read_otherwise_are_refused() {
    for line in [
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\rx",
        "PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.2 56324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 056324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +56324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 65536\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY \r\n",
    ] {
        refused(line.as_bytes(), HeaderError::BadLine);
    }
    let long = format!("PROXY UNKNOWN {}", "x".repeat(93));
    refused(long.as_bytes(), HeaderError::LineTooLong);
    refused(b"PROXX ", HeaderError::NotAHeader);
    refused(b"GET / HTTP/1.1\r\n", HeaderError::NotAHeader);
}

#[test]
fn the_longest_line_is_read() {
    let line = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    check(line.as_bytes(), 107, None);
}

#[test]
fn blocks_of_version_2() {
    check(&v2(1, 0x11, ENDS_4), 28, addresses("192.0.2.1:56324", "198.51.100.2:443"));
    check(&v2(1, 0x12, ENDS_4), 28, addresses("192.0.2.1:56324", "198.51.100.2:443"));
    let six = [
        &[0x20, 1, 0xd, 0xb8][..],
        &[0; 11],
        &[1],
        &[0x20, 1, 0xd, 0xb8],
        &[0; 11],
        &[2],
        &[0, 1, 0, 2],
    ]
    .concat();
    check(&v2(1, 0x21, &six), 52, addresses("[2001:db8::1]:1", "[2001:db8::2]:2"));
    check(&v2(1, 0x00, &[]), 16, None);
    check(&v2(1, 0x31, &[0; 216]), 232, None);
    // §2.2: of a connection of the proxy's own nothing is looked at.
    check(&v2(0, 0x11, &[1, 2, 3]), 19, None);
}

#[test]
fn blocks_that_cannot_be_believed_are_refused() {
    refused(&v2(2, 0x11, ENDS_4), HeaderError::UnknownCommand { command: 2 });
    refused(&v2(1, 0x13, ENDS_4), HeaderError::UnknownFamily { family: 0x13 });
    refused(&v2(1, 0x11, &ENDS_4[1..]), HeaderError::BadLength);
    refused(&[SIGNATURE, &[0x11]].concat(), HeaderError::NotAHeader);
    refused(b"\r\n\r\n\0\r\nQUIZ", HeaderError::NotAHeader);
    let large = [SIGNATURE, &[0x21, 0x11, 0x0f, 0xf1]].concat();
    refused(&large, HeaderError::TooLarge { length: 4097, max: 4096 });
}

#[test]
fn fields_are_read_and_bounded() {
    let with = |fields: &[u8]| v2(1, 0x11, &[ENDS_4, fields].concat());
    let fields = [tlv(1, b"h2"), tlv(2, b"example.com"), tlv(4, &[0; 9]), tlv(5, b"id")].concat();
    let input = with(&fields);
    check_header(&input);
    let Ok(Parsed::Complete(header)) = parse(&input) else { panic!("{input:?}") };
    let tlvs = header.tlvs;
    assert_eq!((tlvs.alpn, tlvs.authority), (Some(&b"h2"[..]), Some("example.com")));
    assert_eq!(tlvs.unique_id, Some(&b"id"[..]));
    for (kind, value) in [(1, vec![]), (1, vec![1; 256]), (2, vec![0xff]), (2, b"a\n".to_vec())] {
        refused(&with(&tlv(kind, &value)), HeaderError::BadField { kind });
    }
    refused(&with(&tlv(5, &[1; 129])), HeaderError::BadField { kind: 5 });
    refused(&with(&tlv(3, &[1; 3])), HeaderError::BadField { kind: 3 });
    refused(&with(&[tlv(2, b"a"), tlv(2, b"a")].concat()), HeaderError::RepeatedField { kind: 2 });
    refused(&with(&[1, 0]), HeaderError::BadLength);
    refused(&with(&[0xee, 0, 2, 1]), HeaderError::BadLength);
}

// §2.2.3, with the check value of CRC-32C.
#[test]
fn a_checksum_has_to_be_right() {
    assert_eq!(crc32c::crc32c(b"123456789".iter().copied()), 0xe306_9283);
    let mut input = v2(1, 0x11, &[ENDS_4, &tlv(4, b"pad"), &tlv(3, &[0; 4])].concat());
    let sum = crc32c::crc32c(input.iter().copied()).to_be_bytes();
    let at = input.len() - 4;
    input[at..].copy_from_slice(&sum);
    check(&input, input.len(), addresses("192.0.2.1:56324", "198.51.100.2:443"));
    input[20] ^= 1;
    refused(&input, HeaderError::BadChecksum);
}

#[test]
fn what_is_written_is_as_the_document_shows_it() {
    let ends = addresses("192.0.2.1:56324", "198.51.100.2:443");
    let written = |write: fn(Option<Addresses>, &mut Vec<u8>), ends| {
        let mut out = b"before".to_vec();
        write(ends, &mut out);
        out.split_off(6)
    };
    assert_eq!(written(write_v1, ends), b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n");
    assert_eq!(written(write_v1, None), b"PROXY UNKNOWN\r\n");
    assert_eq!(written(write_v2, ends), v2(1, 0x11, ENDS_4));
    assert_eq!(written(write_v2, None), v2(1, 0x00, &[]));
    let of_datagrams = |ends: Option<Addresses>, out: &mut Vec<u8>| {
        write_v2_for_datagrams(ends.expect("some"), out);
    };
    assert_eq!(written(of_datagrams, ends), v2(1, 0x12, ENDS_4));
    let six = addresses("[2001:db8::1]:1", "[2001:db8::2]:2");
    let header = written(of_datagrams, six);
    assert_eq!((header[13], header.len()), (0x22, 52));
    check(&header, 52, six);
    // One of IPv4 and one of IPv6 are written as two of IPv6.
    let mixed = addresses("192.0.2.1:1", "[2001:db8::2]:2");
    let line = b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n";
    assert_eq!(written(write_v1, mixed), line);
    check_header(&written(write_v2, mixed));
}

#[test]
fn whatever_the_bytes_all_cuts_agree() {
    let samples = [
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\nmore".to_vec(),
        v2(1, 0x11, &[ENDS_4, &tlv(1, b"h2"), &tlv(2, b"example.com"), &tlv(5, b"id")].concat()),
        v2(0, 0x00, &tlv(4, b"x")),
    ];
    let mut rng = Rng::new(11);
    for _ in 0..20_000 {
        let mut input = samples[rng.below(4) as usize].clone();
        for _ in 0..rng.below(4) {
            let at = rng.below(input.len() as u32) as usize;
            input[at] = rng.next_u64() as u8;
        }
        check_header(&input);
    }
}
