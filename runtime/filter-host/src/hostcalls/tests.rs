//! Corner cases of each hostcall, and arguments that lie.

mod grpc;
mod queues;

use penstock_env::Rng;

use crate::abi::hostcalls::HOSTCALLS;
use crate::abi::{Capability, Errno, MetricType, Module, Status, Version};
use crate::property::{Probe, filter_hostcalls};
use crate::testing::Fields;
use crate::{Capabilities, FilterSettings, HeaderMap, PairList, PluginSettings};

/// Where the tests put arguments, and where they let answers be written.
const IN: u64 = 1_024;
const OUT: u64 = 4_096;
const LAST: u64 = Probe::MEMORY_BYTES;

fn probe() -> Probe {
    let mut settings = FilterSettings::new("probe");
    settings.clusters = std::sync::Arc::new(["origin".into()]);
    probe_of(settings)
}

fn probe_of(mut settings: FilterSettings) -> Probe {
    settings.vm_config = (*b"vm").into();
    let plugin = PluginSettings { root_id: "root".into(), config: (*b"plugin").into() };
    settings.plugins = std::sync::Arc::new([plugin]);
    Probe::new(settings)
}

#[track_caller]
fn check(probe: &mut Probe, name: &str, arguments: &[u64], expected: Status) {
    let answer = probe.call(name, arguments).expect("it doesn't trap");
    assert_eq!(answer.and_then(Status::from_u32), Some(expected), "{name} {arguments:?}");
}

/// Calls with two places for the answer, and compares what is there.
#[track_caller]
fn check_value(probe: &mut Probe, name: &str, arguments: &[u64], expected: &[u8]) {
    let arguments = [arguments, &[OUT, OUT + 4]].concat();
    check(probe, name, &arguments, Status::Ok);
    let (address, bytes) = (probe.word(OUT as usize), probe.word(OUT as usize + 4));
    assert_eq!(probe.read(address as usize, bytes as usize), expected, "{name}");
    assert_eq!(address == 0, expected.is_empty(), "no bytes have no address");
}

/// Writes a text where arguments go, and answers its place and length.
fn text(probe: &mut Probe, text: &[u8]) -> [u64; 2] {
    probe.write(IN as usize, text);
    [IN, text.len() as u64]
}

#[test]
fn no_arguments_whatever_get_the_better_of_the_host() {
    let mut rng = Rng::new(20_260_101);
    for _ in 0..2_000 {
        let bytes: Vec<u8> = (0..64).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
        filter_hostcalls(&bytes[..rng.below(512) as usize]);
    }
}

#[test]
fn pointers_that_leave_memory_are_told_so() {
    let mut probe = probe();
    for (address, bytes) in [(LAST, 1), (LAST - 1, 2), (u64::from(u32::MAX), 2), (0, 1 << 31)] {
        let p = &mut probe;
        let fault = Status::InvalidMemoryAccess;
        check(p, "proxy_log", &[2, address, bytes], fault);
        check(p, "proxy_get_header_map_value", &[0, address, bytes, OUT, OUT + 4], fault);
        check(p, "proxy_add_header_map_value", &[0, IN, 1, address, bytes], fault);
        check(p, "proxy_set_header_map_pairs", &[0, address, bytes], fault);
        check(p, "proxy_get_property", &[address, bytes, OUT, OUT + 4], fault);
        check(p, "proxy_set_property", &[IN, 1, address, bytes], fault);
        check(p, "proxy_set_buffer_bytes", &[0, 0, 0, address, bytes], fault);
        let response = [200, 0, 0, address, bytes, 0, 0, 0];
        check(p, "proxy_send_local_response", &response, fault);
        check(p, "proxy_get_shared_data", &[address, bytes, OUT, OUT, OUT], fault);
        check(p, "proxy_set_shared_data", &[IN, 1, address, bytes, 0], fault);
        check(p, "proxy_define_metric", &[0, address, bytes, OUT], fault);
        check(p, "proxy_call_foreign_function", &[address, bytes, 0, 0, OUT, OUT], fault);
        check(p, "proxy_http_call", &[address, bytes, 0, 0, 0, 0, 0, 0, 0, OUT], fault);
    }
    for out in [LAST - 3, LAST, u64::from(u32::MAX)] {
        let p = &mut probe;
        let fault = Status::InvalidMemoryAccess;
        p.write(IN as usize, b"a");
        check(p, "proxy_get_log_level", &[out], fault);
        check(p, "proxy_get_current_time_nanoseconds", &[out], fault);
        check(p, "proxy_get_header_map_size", &[0, out], fault);
        check(p, "proxy_get_header_map_pairs", &[0, out, OUT], fault);
        check(p, "proxy_get_header_map_value", &[0, IN, 1, OUT, out], fault);
        check(p, "proxy_get_buffer_bytes", &[0, 0, 9, out, OUT], fault);
        check(p, "proxy_get_buffer_status", &[0, OUT, out], fault);
        check(p, "proxy_get_status", &[OUT, OUT, out], fault);
        check(p, "proxy_http_call", &[0, 0, 0, 0, 0, 0, 0, 0, 0, out], fault);
    }
}

#[test]
fn fields_answer_as_in_envoy() {
    let mut p = probe();
    let name = text(&mut p, b"A");
    check_value(&mut p, "proxy_get_header_map_value", &[&[0], &name[..]].concat(), b"1");
    let missing = text(&mut p, b"missing");
    let arguments = [&[0], &missing[..], &[OUT, OUT]].concat();
    check(&mut p, "proxy_get_header_map_value", &arguments, Status::NotFound);
    // A map that isn't there: bad argument to ask in, empty to list.
    let arguments = [&[1], &missing[..], &[OUT, OUT]].concat();
    check(&mut p, "proxy_get_header_map_value", &arguments, Status::BadArgument);
    check_value(&mut p, "proxy_get_header_map_pairs", &[1], b"");
    check(&mut p, "proxy_get_header_map_size", &[1, OUT], Status::BadArgument);
    check(&mut p, "proxy_get_header_map_size", &[0, OUT], Status::Ok);
    assert_eq!(p.word(OUT as usize) as usize, ":methodGET:path/a1".len());
    check(&mut p, "proxy_get_header_map_size", &[8, OUT], Status::BadArgument);
    let list = PairList::new([(b":status" as &[u8], b"204" as &[u8])].into_iter());
    check_value(&mut p, "proxy_get_header_map_pairs", &[6], list.encoded());
    check(&mut p, "proxy_remove_header_map_value", &[6, IN, 1], Status::BadArgument);
    let name = text(&mut p, b"a\nb");
    let arguments = [&[0], &name[..], &[IN, 1]].concat();
    check(&mut p, "proxy_add_header_map_value", &arguments, Status::BadArgument);
    check(&mut p, "proxy_replace_header_map_value", &arguments, Status::BadArgument);
    // What is the proxy's to set: accepted, and without effect.
    let name = text(&mut p, b"Connection");
    let arguments = [&[0], &name[..], &[IN, 1]].concat();
    check(&mut p, "proxy_add_header_map_value", &arguments, Status::Ok);
    check(&mut p, "proxy_replace_header_map_value", &arguments, Status::Ok);
    check(&mut p, "proxy_remove_header_map_value", &[&[0], &name[..]].concat(), Status::Ok);
    assert_eq!(p.session.request.value(b"connection"), None);
    let list = PairList::new([(b"x" as &[u8], b"y" as &[u8])].into_iter());
    let list = text(&mut p, list.encoded());
    let arguments = [&[0], &list[..]].concat();
    check(&mut p, "proxy_set_header_map_pairs", &arguments, Status::Ok);
    assert_eq!(p.session.request, Fields::new(&[("x", "y")]));
    let short = [0, list[0], list[1] - 2];
    check(&mut p, "proxy_set_header_map_pairs", &short, Status::BadArgument);
}

#[test]
fn a_missing_field_is_empty_for_the_first_edition() {
    let mut p = Probe::of(FilterSettings::new("probe"), Version::V0_1_0);
    let missing = text(&mut p, b"missing");
    check_value(&mut p, "proxy_get_header_map_value", &[&[0], &missing[..]].concat(), b"");
}

#[test]
fn a_context_must_be_there() {
    let mut p = probe();
    let other = p.open();
    let other = u64::from(other.as_u32());
    check(&mut p, "proxy_set_effective_context", &[999], Status::BadArgument);
    check(&mut p, "proxy_set_effective_context", &[0], Status::BadArgument);
    check(&mut p, "proxy_set_effective_context", &[other], Status::Ok);
    check(&mut p, "proxy_done", &[], Status::NotFound);
}

#[test]
fn buffers_are_cut_and_put_together_as_asked() {
    let mut p = probe();
    let all = u64::from(u32::MAX);
    check_value(&mut p, "proxy_get_buffer_bytes", &[0, 0, all], b"0123456789");
    check_value(&mut p, "proxy_get_buffer_bytes", &[0, 8, 9], b"89");
    // FILTERS: a start beyond the end is no bytes, a sum that overflows a bad argument.
    // Of no bytes neither address nor length is told, as in Envoy.
    p.write(OUT as usize, &[7; 8]);
    check(&mut p, "proxy_get_buffer_bytes", &[0, 11, 9, OUT, OUT + 4], Status::Ok);
    check(&mut p, "proxy_get_buffer_bytes", &[0, 2, 0, OUT, OUT + 4], Status::Ok);
    assert_eq!((p.word(OUT as usize), p.word(OUT as usize + 4)), (0x0707_0707, 0x0707_0707));
    check(&mut p, "proxy_get_buffer_bytes", &[0, 1, all, OUT, OUT], Status::BadArgument);
    check(&mut p, "proxy_get_buffer_bytes", &[1, 0, 1, OUT, OUT], Status::NotFound);
    check(&mut p, "proxy_get_buffer_bytes", &[9, 0, 1, OUT, OUT], Status::BadArgument);
    check_value(&mut p, "proxy_get_buffer_bytes", &[4, 0, all], b"answer");
    check_value(&mut p, "proxy_get_buffer_bytes", &[6, 0, all], b"vm");
    check(&mut p, "proxy_get_buffer_bytes", &[7, 0, 1, OUT, OUT], Status::NotFound);
    check_value(&mut p, "proxy_get_configuration", &[], b"vm");
    p.configuring = true;
    check_value(&mut p, "proxy_get_buffer_bytes", &[7, 0, all], b"plugin");
    check_value(&mut p, "proxy_get_configuration", &[], b"plugin");
    check(&mut p, "proxy_get_buffer_status", &[0, OUT, OUT + 4], Status::Ok);
    assert_eq!((p.word(OUT as usize), p.word(OUT as usize + 4)), (10, 0));
    p.write(IN as usize, b"AB");
    for (start, size, expected) in [
        (0, 0, "AB0123456789"),
        (all, 0, "0123456789AB"),
        (10, all, "0123456789AB"),
        (0, all, "AB"),
        (0, 10, "AB"),
        (4, 2, "0123AB6789"),
        (4, 0, "0123AB456789"),
        (9, all, "012345678AB"),
    ] {
        p.body = b"0123456789".to_vec();
        check(&mut p, "proxy_set_buffer_bytes", &[0, start, size, IN, 2], Status::Ok);
        assert_eq!(p.body, expected.as_bytes(), "{start} {size}");
    }
    check(&mut p, "proxy_set_buffer_bytes", &[1, 0, 0, IN, 2], Status::NotFound);
    check(&mut p, "proxy_set_buffer_bytes", &[7, 0, 0, IN, 2], Status::BadArgument);
}

#[test]
fn properties_name_the_plugin_and_the_exchange() {
    let mut p = probe();
    for (path, expected) in [
        (b"plugin_name" as &[u8], b"probe" as &[u8]),
        (b"plugin_vm_id\0", b"probe"),
        (b"plugin_root_id", b"root"),
        (b"request\0id", b"42"),
    ] {
        let path = text(&mut p, path);
        check_value(&mut p, "proxy_get_property", &path, expected);
    }
    let path = text(&mut p, b"request\0none");
    let arguments = [&path[..], &[OUT, OUT]].concat();
    check(&mut p, "proxy_get_property", &arguments, Status::NotFound);
    check(&mut p, "proxy_get_property", &[IN, 0, OUT, OUT], Status::NotFound);
    let arguments = [&path[..], &path[..]].concat();
    check(&mut p, "proxy_set_property", &arguments, Status::Ok);
    check_value(&mut p, "proxy_get_property", &path, b"request\0none");
}

#[test]
fn an_answer_must_be_one() {
    let mut p = probe();
    for status in [0, 100, 199, 600, 65_736] {
        let arguments = [status, 0, 0, 0, 0, 0, 0, 0];
        check(&mut p, "proxy_send_local_response", &arguments, Status::BadArgument);
    }
    let list = text(&mut p, b"\x01\0\0\0\x09");
    let arguments = [&[200, 0, 0, 0, 0], &list[..], &[0]].concat();
    check(&mut p, "proxy_send_local_response", &arguments, Status::BadArgument);
    check(&mut p, "proxy_send_local_response", &[429, 0, 0, 0, 0, 0, 0, 7], Status::Ok);
    check(&mut p, "proxy_send_local_response", &[200, 0, 0, 0, 0, 0, 0, 7], Status::Ok);
    let mail = p.context().mail.as_mut().expect("it answered");
    let response = mail.local_response.take().expect("it answered");
    assert_eq!((response.status, response.grpc_status), (429, Some(7)));
}

#[test]
fn calls_go_to_listed_clusters_with_whole_heads() {
    let mut p = probe();
    let fields = [(b":method" as &[u8], b"GET" as &[u8]), (b":path", b"/"), (b":authority", b"a")];
    let whole = PairList::new(fields.into_iter());
    let partial = PairList::new(fields[..2].iter().copied());
    p.write(IN as usize, b"origin");
    p.write(2_048, whole.encoded());
    p.write(3_072, partial.encoded());
    let (whole, partial) = (whole.encoded().len() as u64, partial.encoded().len() as u64);
    let call = |cluster, at, bytes, timeout| [IN, cluster, at, bytes, 0, 0, 0, 0, timeout, OUT];
    check(&mut p, "proxy_http_call", &call(5, 2_048, whole, 9), Status::BadArgument);
    check(&mut p, "proxy_http_call", &call(6, 3_072, partial, 9), Status::BadArgument);
    check(&mut p, "proxy_http_call", &call(6, 2_048, whole, 1 << 31), Status::BadArgument);
    for token in 1..=256 {
        check(&mut p, "proxy_http_call", &call(6, 2_048, whole, 9), Status::Ok);
        assert_eq!(p.word(OUT as usize), token);
    }
    check(&mut p, "proxy_http_call", &call(6, 2_048, whole, 9), Status::InternalFailure);
}

#[test]
fn streams_are_continued_and_closed_by_kind() {
    let mut p = probe();
    check(&mut p, "proxy_continue_stream", &[4], Status::BadArgument);
    check(&mut p, "proxy_continue_stream", &[2], Status::Unimplemented);
    check(&mut p, "proxy_continue_stream", &[1], Status::Ok);
    assert!(p.context().resume_response && !p.context().resume_request);
    check(&mut p, "proxy_continue_request", &[], Status::Ok);
    assert!(p.context().resume_request);
    check(&mut p, "proxy_close_stream", &[9], Status::BadArgument);
    check(&mut p, "proxy_close_stream", &[0], Status::Ok);
    assert!(p.context().close);
    check(&mut p, "proxy_clear_route_cache", &[], Status::Ok);
    assert_eq!(p.session.routes_cleared, 1);
}

#[test]
fn shared_data_is_compared_and_swapped() {
    let mut p = probe();
    let key = text(&mut p, b"key");
    let read = [&key[..], &[OUT, OUT + 4, OUT + 8]].concat();
    check(&mut p, "proxy_get_shared_data", &read, Status::NotFound);
    let write = |cas| [IN, 3, IN, 1, cas];
    check(&mut p, "proxy_set_shared_data", &write(0), Status::Ok);
    check(&mut p, "proxy_get_shared_data", &read, Status::Ok);
    let cas = u64::from(p.word(OUT as usize + 8));
    check(&mut p, "proxy_set_shared_data", &write(cas + 1), Status::CasMismatch);
    check(&mut p, "proxy_set_shared_data", &write(cas), Status::Ok);
    check(&mut p, "proxy_set_shared_data", &write(cas), Status::CasMismatch);
}

#[test]
fn metrics_are_defined_once_and_counters_only_grow() {
    let mut p = probe();
    let name = text(&mut p, b"hits");
    let define = |kind: MetricType| [&[kind as u64], &name[..], &[OUT]].concat();
    check(&mut p, "proxy_define_metric", &[3, IN, 4, OUT], Status::BadArgument);
    check(&mut p, "proxy_define_metric", &[0, IN, 0, OUT], Status::BadArgument);
    check(&mut p, "proxy_define_metric", &define(MetricType::Counter), Status::Ok);
    check(&mut p, "proxy_define_metric", &define(MetricType::Gauge), Status::BadArgument);
    let id = u64::from(p.word(OUT as usize));
    check(&mut p, "proxy_increment_metric", &[id, 5], Status::Ok);
    check(&mut p, "proxy_increment_metric", &[id, u64::MAX], Status::BadArgument);
    check(&mut p, "proxy_increment_metric", &[id + 1, 5], Status::NotFound);
    check(&mut p, "proxy_record_metric", &[id, 2], Status::Ok);
    check(&mut p, "proxy_get_metric", &[id, OUT], Status::Ok);
    assert_eq!(p.read(OUT as usize, 8), 7_u64.to_le_bytes());
}

#[test]
fn the_log_has_levels_and_an_end() {
    let mut p = probe();
    let line = text(&mut p, b"caf\xff\n");
    check(&mut p, "proxy_log", &[6, line[0], line[1]], Status::BadArgument);
    for _ in 0..200 {
        check(&mut p, "proxy_log", &[2, line[0], line[1]], Status::Ok);
    }
    assert_eq!(p.world.lines.borrow().len(), 100);
    assert!(p.world.logged("caf\u{fffd}"));
}

#[track_caller]
fn check_wasi(probe: &mut Probe, name: &str, arguments: &[u64], expected: Errno) {
    let answer = probe.call(name, arguments).expect("it doesn't trap");
    assert_eq!(answer, Some(expected as u32), "{name} {arguments:?}");
}

#[test]
fn wasi_is_a_log_a_clock_and_random_bytes() {
    let mut p = probe();
    p.write(2_048, b"hello\n");
    p.write(IN as usize, &[0, 8, 0, 0, 6, 0, 0, 0]);
    check_wasi(&mut p, "fd_write", &[1, IN, 1, OUT], Errno::Success);
    assert!(p.word(OUT as usize) == 6 && p.world.logged("hello"));
    check_wasi(&mut p, "fd_write", &[3, IN, 1, OUT], Errno::BadDescriptor);
    check_wasi(&mut p, "fd_write", &[1, LAST - 4, 1, OUT], Errno::Fault);
    check_wasi(&mut p, "fd_write", &[1, IN, 1 << 30, OUT], Errno::Invalid);
    let mut last = [0_u8; 8];
    for _ in 0..3 {
        check_wasi(&mut p, "clock_time_get", &[1, 0, OUT], Errno::Success);
        let now = p.read(OUT as usize, 8);
        let now: [u8; 8] = now.try_into().expect("eight bytes");
        assert!(u64::from_le_bytes(now) > u64::from_le_bytes(last), "it must advance");
        last = now;
    }
    check_wasi(&mut p, "clock_time_get", &[2, 0, OUT], Errno::NotSupported);
    check_wasi(&mut p, "random_get", &[OUT, 32], Errno::Success);
    assert_ne!(p.read(OUT as usize, 32), [0; 32]);
    check_wasi(&mut p, "random_get", &[OUT, 1 << 20], Errno::Invalid);
    check_wasi(&mut p, "random_get", &[LAST - 1, 2], Errno::Fault);
    check_wasi(&mut p, "fd_read", &[0, 0, 0, 0], Errno::BadDescriptor);
    check_wasi(&mut p, "poll_oneoff", &[IN, OUT, 0, OUT], Errno::Invalid);
    check_wasi(&mut p, "args_sizes_get", &[OUT, OUT], Errno::Success);
    let exit = p.call("proc_exit", &[3]).expect_err("it is the end");
    assert_eq!(exit.cause.name(), "exit");
}

#[test]
fn what_is_not_granted_links_and_is_refused() {
    let mut settings = FilterSettings::new("probe");
    settings.capabilities = Capabilities::NONE.with(Capability::Log);
    let mut p = Probe::new(settings);
    for call in HOSTCALLS {
        let arguments = vec![OUT; call.params.len()];
        let refused = match call.module {
            Module::Env => Status::InternalFailure as u32,
            Module::Wasi => Errno::NotSupported as u32,
        };
        if !matches!(call.capability, Capability::Lifecycle | Capability::Log) {
            let answer = p.call(call.name, &arguments).expect("it doesn't trap");
            assert_eq!(answer, Some(refused), "{}", call.name);
        }
    }
    check(&mut p, "proxy_log", &[2, 0, 1], Status::Ok);
}
