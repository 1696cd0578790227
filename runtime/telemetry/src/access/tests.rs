//! What the access log promises: lines that hold against any bytes, and a writer that goes on.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;

use penstock_env::{Rng, Unix};

use super::civil::Civil;
use super::writer::append;
use super::{
    AccessRecord, Format, Names, Peer, Phases, Protocol, TEXT_BYTES_MAX, Target, Text, Tls, Writer,
};
use super::{escape, number};

fn names() -> Names {
    Names {
        listeners: vec!["web".into()],
        services: vec!["mail".into()],
        routes: vec![vec!["api".into()]],
        clusters: vec!["app".into()],
        causes: &["no-route", "connect-timeout"],
        codes: &["OK", "CANCELLED"],
        suites: &[("TLSv1.3", "TLS_AES_256_GCM_SHA384")],
    }
}

fn sample() -> AccessRecord {
    // 2026-11-22T08:31:13.000042Z
    let mut record = AccessRecord::new(Unix { us: 1_795_336_273_000_042 });
    record.total_us = 1_500_007;
    record.phases.connect_us = 310;
    (record.bytes_in, record.bytes_out) = (120, 4_096);
    record.downstream = Peer::Ip("192.0.2.7".parse().unwrap(), 50_123);
    record.endpoint = Peer::Ip("2001:db8::1".parse().unwrap(), 80);
    (record.route, record.cluster, record.cause) = (Some(0), Some(0), Some(1));
    (record.status, record.attempts, record.protocol) = (504, 2, Protocol::Http11);
    record.trace_id = [0xab; 16];
    record.put(Text::Method, b"GET");
    record.put(Text::Host, b"example.com");
    record.put(Text::Path, b"/a?b=c");
    record
}

#[track_caller]
fn check(format: Format, record: &AccessRecord, expected: &str) {
    let mut out = b"before\n".to_vec();
    format.write(record, &names(), &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), format!("before\n{expected}\n"));
}

#[track_caller]
fn check_has(record: &AccessRecord, rows: [(Format, &str); 2]) {
    for (format, expected) in rows {
        let mut out = Vec::new();
        format.write(record, &names(), &mut out);
        let line = String::from_utf8(out).unwrap();
        assert!(line.contains(expected), "{line}");
    }
}

#[test]
fn what_is_not_known_of_every_request_is_shown_where_it_is() {
    let mut sealed = sample();
    sealed.tls = Some(Tls { suite: 0, resumed: true });
    sealed.put(Text::Sni, b"a.example");
    let json = "\"path\":\"/a?b=c\",\"tls\":\"TLSv1.3\",\"cipher\":\"TLS_AES_256_GCM_SHA384\",\
                \"sni\":\"a.example\",\"resumed\":true,\"status\":504";
    let text = "abab tls=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 sni=a.example resumed=yes\n";
    check_has(&sealed, [(Format::Json, json), (Format::Text, text)]);
    let mut called = sample();
    called.code = Some(1);
    let json = "\"status\":504,\"grpc_status\":\"CANCELLED\",\"attempts\":2";
    check_has(&called, [(Format::Json, json), (Format::Text, "abab grpc_status=CANCELLED\n")]);
    let mut told = sample();
    told.put(Text::Detail, b"jwt_missing");
    let json = "\"cause\":\"connect-timeout\",\"detail\":\"jwt_missing\",\"trace_id\"";
    check_has(&told, [(Format::Json, json), (Format::Text, "abab detail=jwt_missing\n")]);
    // Behind a proxy that is believed: who asked stands where readers of the format expect it.
    let mut spoken = sample();
    spoken.client = Some("203.0.113.9".parse().unwrap());
    let json = ",\"client\":\"203.0.113.9\",\"downstream\":\"192.0.2.7:50123\",";
    let text = "abab downstream=192.0.2.7:50123\n";
    check_has(&spoken, [(Format::Json, json), (Format::Text, text)]);
    check_has(&spoken, [(Format::Json, "{\"time\""), (Format::Text, "203.0.113.9 - - [")]);
}

#[test]
fn a_record_is_written_in_both_formats() {
    check(
        Format::Json,
        &sample(),
        "{\"time\":\"2026-11-22T08:31:13.000042Z\",\"listener\":\"web\",\"route\":\"api\",\
         \"cluster\":\"app\",\"downstream\":\"192.0.2.7:50123\",\
         \"endpoint\":\"[2001:db8::1]:80\",\"protocol\":\"HTTP/1.1\",\"method\":\"GET\",\
         \"host\":\"example.com\",\"path\":\"/a?b=c\",\"status\":504,\"attempts\":2,\
         \"bytes_in\":120,\"bytes_out\":4096,\"total_us\":1500007,\"head_us\":0,\
         \"filters_us\":0,\"queue_us\":0,\"connect_us\":310,\"first_byte_us\":0,\
         \"cause\":\"connect-timeout\",\"trace_id\":\"abababababababababababababababab\"}",
    );
    check(
        Format::Text,
        &sample(),
        "192.0.2.7 - - [22/Nov/2026:08:31:13 +0000] \"GET /a?b=c HTTP/1.1\" 504 4096 \"-\" \"-\" \
         host=example.com listener=web route=api cluster=app cause=connect-timeout \
         endpoint=[2001:db8::1]:80 attempts=2 time=1.500007 \
         trace=abababababababababababababababab",
    );
    let mut late = sample();
    // 12000-01-01T00:00:00Z: 10,030 years of 365.2425 days.
    late.start = Unix { us: 316_516_204_800_000_000 };
    let mut out = Vec::new();
    Format::Json.write(&late, &names(), &mut out);
    assert!(out.starts_with(b"{\"time\":\"12000-01-01T00:00:00.000000Z\","));
    check(
        Format::Text,
        &AccessRecord::new(Unix { us: 0 }),
        "- - - [01/Jan/1970:00:00:00 +0000] \"  TCP\" 0 0 \"-\" \"-\" host=- listener=web \
         route=- cluster=- cause=- endpoint=- attempts=0 time=0.000000 trace=-",
    );
}

#[test]
fn what_came_in_at_a_service_names_that_and_no_listener() {
    let mut record = AccessRecord::new(Unix { us: 0 });
    (record.service, record.bytes_in, record.bytes_out) = (Some(0), 3, 4);
    check(
        Format::Json,
        &record,
        "{\"time\":\"1970-01-01T00:00:00.000000Z\",\"service\":\"mail\",\"protocol\":\"TCP\",\
         \"status\":0,\"attempts\":0,\"bytes_in\":3,\"bytes_out\":4,\"total_us\":0,\"head_us\":0,\
         \"filters_us\":0,\"queue_us\":0,\"connect_us\":0,\"first_byte_us\":0}",
    );
    check(
        Format::Text,
        &record,
        "- - - [01/Jan/1970:00:00:00 +0000] \"  TCP\" 0 4 \"-\" \"-\" host=- service=mail \
         route=- cluster=- cause=- endpoint=- attempts=0 time=0.000000 trace=-",
    );
}

#[test]
fn a_record_that_begins_anew_shows_nothing_of_what_it_was() {
    let mut record = sample();
    record.phases =
        Phases { head_us: 1, filters_us: 2, queue_us: 3, connect_us: 4, first_byte_us: 5 };
    (record.snapshot, record.listener, record.service) = (6, 7, Some(8));
    record.put(Text::UserAgent, &[b'u'; 200]);
    record.put(Text::Referer, b"http://example.com/");
    record.begin(Unix { us: 8 });
    let mut new = AccessRecord::new(Unix { us: 8 });
    record.put(Text::Path, b"/");
    new.put(Text::Path, b"/");
    let (mut anew, mut fresh) = (Vec::new(), Vec::new());
    for format in [Format::Json, Format::Text] {
        format.write(&record, &names(), &mut anew);
        format.write(&new, &names(), &mut fresh);
    }
    assert_eq!(String::from_utf8(anew).unwrap(), String::from_utf8(fresh).unwrap());
    assert_eq!((record.snapshot, record.is_any_cut()), (0, false));
}

#[test]
fn hostile_bytes_are_escaped() {
    let mut record = AccessRecord::new(Unix { us: 0 });
    record.put(Text::Path, b"/\"\\\n\x00\x7f\xc3\xa9\xff\xed\xa0\x80 x");
    record.put(Text::UserAgent, b"a\"b c");
    let mut out = Vec::new();
    Format::Json.write(&record, &names(), &mut out);
    let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(line["path"], "/\"\\\n\0\x7f\u{e9}\\xff\\xed\\xa0\\x80 x");
    assert_eq!(line["user_agent"], "a\"b c");

    out.clear();
    Format::Text.write(&record, &names(), &mut out);
    let line = String::from_utf8(out).unwrap();
    let path = "/\\x22\\x5c\\x0a\\x00\\x7f\\xc3\\xa9\\xff\\xed\\xa0\\x80\\x20x";
    assert!(line.contains(&format!("\" {path} TCP\"")) || line.contains(path), "{line}");
    assert!(line.contains("\"a\\x22b c\""), "{line}");
}

#[test]
fn any_bytes_make_one_line_that_parses() {
    let mut rng = Rng::new(11);
    for _ in 0..2_000 {
        let mut record = AccessRecord::new(Unix { us: rng.next_u64() >> 13 });
        for text in Text::ALL {
            let len = rng.below(300) as usize;
            let bytes: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
            record.put(text, &bytes);
            let kept = record.text(text);
            assert_eq!(kept, &bytes[..kept.len()]);
            assert_eq!(record.is_cut(text), kept.len() < len);
        }
        record.route = Some(rng.below(3));
        for format in [Format::Json, Format::Text] {
            let mut out = Vec::new();
            format.write(&record, &names(), &mut out);
            assert_eq!(out.iter().filter(|&&byte| byte < b' ').count(), 1);
            assert_eq!(out.last(), Some(&b'\n'));
            if format == Format::Json {
                serde_json::from_slice::<serde_json::Value>(&out).unwrap();
            } else {
                assert!(out.is_ascii());
            }
        }
    }
}

#[test]
fn a_byte_is_escaped_wherever_in_a_text_it_lies() {
    for (len, byte) in (1..20).flat_map(|len| (0..=255).map(move |byte| (len, byte))) {
        for place in 0..len {
            let mut bytes = vec![b'~'; len];
            bytes[place] = byte;
            let (mut json, mut text) = (Vec::new(), Vec::new());
            escape::json(&mut json, &bytes);
            escape::text(&mut text, &bytes, b' ');
            let around = |inner: &str| {
                format!("{}{inner}{}", "~".repeat(place), "~".repeat(len - place - 1))
            };
            let expected = match byte {
                b'"' | b'\\' => format!("\\{}", char::from(byte)),
                0..0x20 => format!("\\u{byte:04x}"),
                0x80.. => format!("\\\\x{byte:02x}"),
                _ => char::from(byte).to_string(),
            };
            assert_eq!(String::from_utf8(json).unwrap(), around(&expected));
            let expected = match byte {
                b'"' | b'\\' | 0..=b' ' | 0x7f.. => format!("\\x{byte:02x}"),
                _ => char::from(byte).to_string(),
            };
            assert_eq!(String::from_utf8(text).unwrap(), around(&expected));
        }
    }
}

#[track_caller]
fn check_number(number: u64) {
    let mut out = b"7".to_vec();
    number::decimal(&mut out, number);
    assert_eq!(String::from_utf8(out).unwrap(), format!("7{number}"));
}

#[test]
fn numbers_are_written_as_the_standard_library_does() {
    (0..=10_000).for_each(check_number);
    for power in (0..20).map(|exponent| 10_u64.pow(exponent)) {
        [power - 1, power, power + 1, power.saturating_mul(9)].into_iter().for_each(check_number);
    }
    check_number(u64::MAX);
    let mut rng = Rng::new(12);
    for _ in 0..20_000 {
        check_number(rng.next_u64() >> rng.below(64));
    }
}

#[track_caller]
fn check_address(address: IpAddr, port: u16) {
    let mut out = Vec::new();
    number::peer(&mut out, Peer::Ip(address, port));
    assert_eq!(String::from_utf8(out).unwrap(), SocketAddr::new(address, port).to_string());
    let mut out = Vec::new();
    number::ip(&mut out, address);
    assert_eq!(String::from_utf8(out).unwrap(), address.to_string());
}

#[test]
fn addresses_are_written_as_the_standard_library_does() {
    for octet in 0..=255 {
        check_address([octet, 0, octet, octet].into(), u16::from(octet));
    }
    for text in
        ["::", "::1", "1::", "::ffff:192.0.2.1", "::192.0.2.1", "64:ff9b::1", "fe80::1:0:0:1"]
    {
        check_address(text.parse().unwrap(), 65_535);
    }
    // Which groups are zero decides what is left out: all 256 ways.
    let mut rng = Rng::new(13);
    for zeros in 0..256 {
        let mut groups = [0_u16; 8];
        for (place, group) in groups.iter_mut().enumerate() {
            if zeros >> place & 1 == 0 {
                *group = 1 << rng.below(16) | rng.below(2) as u16;
            }
        }
        check_address(groups.into(), 80);
    }
}

#[test]
fn texts_put_at_once_are_kept_as_one_by_one() {
    let mut rng = Rng::new(14);
    let mut at_once = sample();
    for _ in 0..2_000 {
        let mut one_by_one = AccessRecord::new(Unix { us: 0 });
        let values = Text::OF_REQUEST.map(|_| {
            let len = rng.below(250) as usize;
            (0..len).map(|_| rng.next_u64() as u8).collect::<Vec<u8>>()
        });
        for (text, value) in Text::OF_REQUEST.into_iter().zip(&values) {
            one_by_one.put(text, value);
        }
        at_once.put_all(values.each_ref().map(Vec::as_slice));
        for text in Text::ALL {
            assert_eq!(at_once.text(text), one_by_one.text(text));
            assert_eq!(at_once.is_cut(text), one_by_one.is_cut(text));
        }
    }
}

#[test]
fn long_texts_are_cut_and_say_so() {
    let mut record = AccessRecord::new(Unix { us: 0 });
    record.put(Text::Path, &[b'p'; 8_000]);
    record.put(Text::Host, &[b'h'; 96]);
    record.put(Text::UserAgent, &[b'u'; 90]);
    record.put(Text::Method, b"GET");
    assert_eq!(record.text(Text::Path).len(), 208);
    assert!(record.is_cut(Text::Path) && !record.is_cut(Text::Host));
    assert_eq!(record.text(Text::UserAgent).len(), TEXT_BYTES_MAX - 208 - 96);
    assert!(record.is_cut(Text::Method), "no room was left");
    let mut out = Vec::new();
    Format::Json.write(&record, &names(), &mut out);
    let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(line["cut"], serde_json::json!(["method", "path", "user_agent"]));
}

#[test]
fn dates_are_those_of_the_calendar() {
    for (seconds, expected) in [
        (0, (1970, 1, 1, 0, 0, 0)),
        (951_782_400, (2000, 2, 29, 0, 0, 0)),
        (951_868_799, (2000, 2, 29, 23, 59, 59)),
        (951_868_800, (2000, 3, 1, 0, 0, 0)),
        (4_107_542_399, (2100, 2, 28, 23, 59, 59)),
        (4_107_542_400, (2100, 3, 1, 0, 0, 0)),
        (1_798_761_599, (2026, 12, 31, 23, 59, 59)),
    ] {
        let civil = Civil::new(Unix { us: seconds * 1_000_000 });
        let Civil { year, month, day, hour, minute, second, .. } = civil;
        assert_eq!((year, month, day, hour, minute, second), expected);
    }
}

#[test]
fn a_rotated_file_is_left_and_the_path_opened_anew() {
    let folder = std::env::temp_dir().join(format!("penstock-access-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (path, moved) = (folder.join("access.log"), folder.join("access.log.1"));
    let mut writer = Writer::open(Target::File(path.clone())).unwrap();
    writer.write(b"one\n");
    std::fs::rename(&path, &moved).unwrap();
    writer.write(b"two\n");
    writer.reopen();
    writer.write(b"three\nfour\n");
    assert_eq!(std::fs::read(&moved).unwrap(), b"one\ntwo\n");
    assert_eq!(std::fs::read(&path).unwrap(), b"three\nfour\n");
    std::fs::remove_dir_all(&folder).unwrap();
    writer.reopen();
    writer.write(b"into the file that is gone\n");
    let counts = writer.counts();
    // Once by itself, once more in front of the line.
    assert_eq!(counts.errors.load(Relaxed), 2, "the folder is gone");
    assert_eq!(counts.lines.load(Relaxed), 5);
    std::fs::create_dir_all(&folder).unwrap();
    writer.write(b"there again\n");
    assert_eq!(std::fs::read(&path).unwrap(), b"there again\n");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Takes `room` bytes, then is full.
struct Disk {
    bytes: Vec<u8>,
    room: usize,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room);
        if count == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room -= count;
        self.bytes.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_torn_by_a_full_disk_is_ended_before_the_next() {
    let (mut disk, mut torn) = (Disk { bytes: Vec::new(), room: 6 }, false);
    let (written, failed) = append(&mut disk, b"one\ntwo\n", &mut torn);
    assert!(written == 6 && failed.is_err());
    disk.room = 100;
    append(&mut disk, b"three\n", &mut torn).1.unwrap();
    assert_eq!(disk.bytes, b"one\ntw\nthree\n");
    disk.room = 4;
    assert!(append(&mut disk, b"six\nseven\n", &mut torn).1.is_err());
    disk.room = 100;
    append(&mut disk, b"eight\n", &mut torn).1.unwrap();
    assert_eq!(disk.bytes, b"one\ntw\nthree\nsix\neight\n");
}
