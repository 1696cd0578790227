//! Layouts to the byte, and tables that can't contradict themselves.

use crate::hostcalls::{self, HOSTCALLS};
use crate::pairs::{Malformed, Pairs, Writer, list_bytes};
use crate::path::{BadPath, PARTS_MAX, Path};
use crate::{Callback, CallbackSet, Capability, MapType, Status};

type Pair<'a> = (&'a [u8], &'a [u8]);

#[track_caller]
fn check_encoding(pairs: &[Pair<'_>], expected: &[u8]) {
    let content = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
    let bytes = list_bytes(pairs.len(), content);
    assert_eq!(bytes, expected.len());
    let mut buffer = [0xff_u8; 256];
    if !pairs.is_empty() {
        let mut writer = Writer::new(&mut buffer[..bytes], pairs.len());
        pairs.iter().for_each(|(name, value)| writer.pair(name, value));
        assert!(writer.finish());
    }
    assert_eq!(&buffer[..bytes], expected);
    let list = Pairs::parse(expected, 16).expect("what was written can be read");
    assert_eq!(list.len(), pairs.len());
    assert!(list.iter().eq(pairs.iter().copied()));
}

#[test]
fn pairs_are_laid_out_as_the_specification_says() {
    check_encoding(&[], b"");
    check_encoding(&[(b"", b"")], b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0");
    // The example of spec 0.2.1, "Serialization".
    check_encoding(
        &[(b"a", b"1"), (b"b", b"22")],
        b"\x02\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x02\0\0\0a\x001\0b\x0022\0",
    );
}

#[track_caller]
fn check_list(bytes: &[u8], expected: Result<usize, Malformed>) {
    assert_eq!(Pairs::parse(bytes, 4).map(|list| list.iter().count()), expected);
}

#[test]
fn a_list_that_lies_about_its_lengths_is_refused() {
    check_list(b"\0", Ok(0));
    check_list(b"\0\0\0\0", Ok(0));
    check_list(b"\x01\0", Err(Malformed::Truncated));
    check_list(b"\x01\0\0\0", Err(Malformed::Truncated));
    check_list(b"\x05\0\0\0", Err(Malformed::TooMany { count: 5 }));
    check_list(b"\xff\xff\xff\xff", Err(Malformed::TooMany { count: u32::MAX }));
    check_list(b"\x01\0\0\0\x01\0\0\0\x01\0\0\0a\0b\0", Ok(1));
    check_list(b"\x01\0\0\0\x01\0\0\0\x01\0\0\0a\0b", Ok(1));
    check_list(b"\x01\0\0\0\x01\0\0\0\x01\0\0\0a\0", Err(Malformed::Truncated));
    check_list(b"\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xffa\0b\0", Err(Malformed::Truncated));
}

#[test]
fn a_writer_notices_a_source_that_changed() {
    let mut short = [0; 14];
    let mut writer = Writer::new(&mut short, 1);
    writer.pair(b"a", b"b");
    assert!(!writer.finish(), "one byte too few");
    let mut long = [0; 17];
    let mut writer = Writer::new(&mut long, 1);
    writer.pair(b"a", b"b");
    assert!(!writer.finish(), "one byte too many");
    let mut none = [0; 2];
    assert!(!Writer::new(&mut none, 1).finish());
}

#[track_caller]
fn check_path(bytes: &[u8], expected: Result<&[&[u8]], BadPath>) {
    assert_eq!(Path::parse(bytes).as_ref().map(Path::parts).map_err(|&error| error), expected);
}

#[test]
fn paths_are_cut_at_each_nul() {
    check_path(b"request\0headers\0x-id", Ok(&[b"request", b"headers", b"x-id"]));
    check_path(b"plugin_name\0", Ok(&[b"plugin_name"]));
    check_path(b"a\0\0b", Ok(&[b"a", b"", b"b"]));
    check_path(b"", Err(BadPath));
    check_path(b"\0", Err(BadPath));
    check_path(&[b'a', 0].repeat(PARTS_MAX), Ok(&[b"a" as &[u8]; PARTS_MAX]));
    check_path(&[b'a', 0].repeat(PARTS_MAX + 1), Err(BadPath));
}

#[test]
fn every_hostcall_is_found_under_each_of_its_module_names_and_once() {
    for call in HOSTCALLS {
        for module in call.module.names() {
            assert_eq!(hostcalls::find(module, call.name), Some(call));
        }
        assert_eq!(HOSTCALLS.iter().filter(|other| other.name == call.name).count(), 1);
    }
    assert_eq!(hostcalls::find("env", "fd_write"), None);
    assert_eq!(hostcalls::find("wasi_unstable", "proxy_log"), None);
}

#[test]
fn names_and_numbers_lead_back_to_what_they_name() {
    for &capability in Capability::ALL {
        assert_eq!(Capability::from_name(capability.name()), Some(capability));
    }
    for &status in Status::ALL {
        assert_eq!(Status::from_u32(status as u32), Some(status));
    }
    // Spec 0.2.1, `proxy_status_t`: 5, 9 and 11 are not assigned.
    assert!([5, 9, 11, 13].into_iter().all(|number| Status::from_u32(number).is_none()));
    assert_eq!(MapType::from_u32(8), None);
}

#[test]
fn a_set_holds_what_was_put_in_it() {
    let set = Callback::ALL.iter().fold(CallbackSet::EMPTY, |set, &callback| set.with(callback));
    assert!(Callback::ALL.iter().all(|&callback| set.has(callback)));
    let one = CallbackSet::EMPTY.with(Callback::Tick);
    assert!(one.has(Callback::Tick) && !one.has(Callback::Log));
    assert_eq!(one.union(set), set);
}
