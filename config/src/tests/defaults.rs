//! What holds when the config says nothing: a row per row of the table of defaults.

use crate::tests::{MINIMAL, parse};
use crate::{Balance, Config};

/// The value at `path` of a config shown with its defaults.
#[track_caller]
fn check(config: &Config, path: &str, expected: &str) {
    let json = config.to_json();
    let value = path.split('.').try_fold(&json, |value, key| match key.parse::<usize>() {
        Ok(index) => value.get(index),
        Err(_) => value.get(key),
    });
    let value = value.unwrap_or_else(|| panic!("{path} is not shown"));
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    assert_eq!(shown, expected, "{path}");
}

#[test]
fn the_minimal_config_is_six_lines() {
    assert_eq!(MINIMAL.lines().filter(|line| !line.is_empty()).count(), 5);
    assert!(parse(MINIMAL).is_ok());
}

#[test]
fn an_appliance_that_is_told_nothing() {
    let config = parse("").expect("nothing is wrong with nothing");
    check(&config, "runtime.shards", "auto");
    check(&config, "runtime.pin", "true");
    check(&config, "runtime.drain", "30s");
    check(&config, "runtime.drain_max", "5m");
    check(&config, "runtime.receive_buffers", "1024");
    check(&config, "runtime.pipes", "64");
    check(&config, "runtime.connections_max", "auto");
    check(&config, "runtime.large_heads", "64MiB");
    check(&config, "runtime.http2.streams", "10000");
    check(&config, "runtime.http2.window_growth", "256MiB");
    check(&config, "runtime.datapath", "auto");
    check(&config, "runtime.layer4.pins", "/sys/fs/bpf/penstock");
    check(&config, "runtime.layer4.instance", "main");
    check(&config, "runtime.layer4.flows", "262144");
    check(&config, "runtime.layer4.nat_ports", "10240-32767");
    check(&config, "admin.listen", "unix:/run/penstock/admin.sock");
    check(&config, "admin.allow_remote", "false");
    check(&config, "observe.access_log", "off");
    check(&config, "observe.cause_header", "false");
}

#[test]
fn a_listener_that_is_told_nothing() {
    let config = parse(MINIMAL).expect("the minimal config");
    let check =
        |path: &str, expected: &str| check(&config, &format!("listener.web.{path}"), expected);
    check("protocol", "http");
    check("lenient", "[]");
    check("trusted", "[]");
    check("forwarded", "x-forwarded");
    check("timeouts.tls_handshake", "5s");
    check("timeouts.request_head", "10s");
    check("timeouts.body_stall", "30s");
    check("timeouts.body_rate_after", "10s");
    check("timeouts.body_rate_min", "1KiB");
    check("timeouts.keep_alive", "75s");
    check("timeouts.connection_age", "1h");
    check("timeouts.connection_age_jitter", "10%");
    check("limits.requests_per_connection", "10000");
    check("limits.connections_per_source", "1024");
    check("limits.handshakes", "1024");
    check("limits.head", "64KiB");
    check("limits.line", "32KiB");
    check("limits.fields", "100");
    check("limits.uri", "8KiB");
    check("limits.chunk_extensions", "16KiB");
    check("limits.trailers", "16KiB");
    check("limits.trailer_fields", "64");
    check("limits.buffer", "32KiB");
    check("http2.mode", "auto");
    check("http2.streams", "100");
    check("http2.stream_window", "64KiB");
    check("http2.connection_window", "1MiB");
    check("http2.window_max", "4MiB");
    check("http2.header_table", "4KiB");
    check("http2.large_heads", "512KiB");
    check("http2.continuations", "8");
    check("http2.resets", "100");
    check("http2.errors", "500");
    check("http2.pings", "10");
    check("http2.settings", "10");
    check("http2.empty_data", "100");
    check("http2.window_updates", "1000");
    check("http2.others", "100");
}

#[test]
fn a_route_that_is_told_nothing() {
    let text = "[listener.l]\naddress = \":80\"\n[[listener.l.route]]\npath = \"/x\"\nrespond = {}";
    let config = parse(text).expect("a route with an answer");
    let check = |path: &str, expected: &str| {
        check(&config, &format!("listener.l.route.0.{path}"), expected);
    };
    check("retry.attempts", "2");
    check("retry.answers", "1");
    check("retry.on", "[\"connect-failure\",\"reset\",\"502\",\"503\",\"504\",\"unavailable\"]");
    check("retry.idempotent", "false");
    check("retry.budget", "20%");
    check("upgrade", "[\"websocket\"]");
    check("respond.status", "200");
    assert_eq!(config.listeners[0].routes[0].timeout, None);
}

#[test]
fn a_cluster_that_is_told_nothing() {
    let config = parse(MINIMAL).expect("the minimal config");
    assert_eq!(config.clusters[0].balance, Balance::LeastRequest);
    let check =
        |path: &str, expected: &str| check(&config, &format!("cluster.app.{path}"), expected);
    check("balance", "least-request");
    check("protocol", "http1");
    check("timeouts.connect", "1s");
    check("timeouts.response_head", "15s");
    check("timeouts.idle", "1m");
    check("timeouts.upgrade_idle", "1h");
    check("timeouts.keep_alive", "30s");
    check("timeouts.queue", "1s");
    check("limits.connections", "4096");
    check("limits.queued", "1024");
    check("limits.requests", "16384");
    check("limits.requests_per_endpoint", "1024");
    check("outlier.consecutive_errors", "3");
    check("outlier.eject_for", "10s");
    check("outlier.eject_for_max", "5m");
    check("outlier.max_ejected", "50%");
    check("outlier.retry_after_max", "10s");
    let maglev = MINIMAL.to_owned() + "balance = \"maglev\"";
    let config = parse(&maglev).expect("maglev needs nothing else");
    let check = |path: &str, expected: &str| {
        super::defaults::check(&config, &format!("cluster.app.{path}"), expected);
    };
    check("hash", "source");
    check("hash_load_max", "125%");
}

#[test]
fn a_service_that_is_told_nothing() {
    let text = MINIMAL.to_owned() + "[service.s]\nvip = \"::\"\nports = \"tcp/25\"\nto = \"app\"";
    let config = parse(&text).expect("a service needs no more");
    let check = |path: &str, expected: &str| check(&config, &format!("service.s.{path}"), expected);
    check("mode", "terminate");
    check("retries", "2");
    check("timeouts.idle", "10m");
    check("limits.connections", "1000000");
    check("limits.connections_per_source", "1024");
    check("timeouts.opening", "1m");
    check("timeouts.closing", "2m");
    check("timeouts.closed", "10s");
}

#[test]
fn a_filter_that_is_told_nothing() {
    let config = parse("[filter.f]\nwasm = \"f.wasm\"").expect("a filter needs a module");
    let check = |path: &str, expected: &str| check(&config, &format!("filter.f.{path}"), expected);
    check("memory", "16MiB");
    check("deadline.headers", "5ms");
    check("deadline.body", "10ms");
    check("deadline.start", "1s");
    check("deadline.ended", "30s");
    check("on_error", "deny");
    check("isolation", "shared");
    check("pause_headers", "all");
    check("http_calls", "[]");
    check("grpc_calls", "[]");
    check("grpc_message_max", "4MiB");
    check("storm.traps", "50");
    check("storm.window", "10s");
    check("storm.rearm_min", "1s");
    check("rollback.failures", "5");
    check("rollback.rate", "1%");
    check("rollback.window", "1m");
    check("rollback.probation", "10m");
    assert_eq!(config.filters[0].capabilities, None);
    assert_eq!(config.filters[0].canary, None);
}
