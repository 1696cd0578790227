//! What is written back reads the same, and what differs is named.

use serde_json::json;

use crate::tests::{MINIMAL, parse};
use crate::{Action, Config, diff};

/// Every kind of setting at least once.
pub(super) const FULL: &str = r#"
[runtime]
shards = 4
pin = false
drain = "5s"

datapath = "xdp"

[runtime.layer4]
pins = "/sys/fs/bpf/other"
instance = "b"
flows = 65536
nat = ["10.0.0.2", "fd00::2"]
nat_ports = "20000-29999"
tunnel = "10.0.0.2"
sources = [
  { from = ["192.0.2.0/24", "2001:db8:bad::/48"], action = "deny" },
  { from = "192.0.2.7", action = "allow" },
  { from = "0.0.0.0/0", action = "limit", rate = 1000, burst = 50 },
]

[admin]
listen = "127.0.0.1:9901"
token_file = "/etc/penstock/token"

[observe]
access_log = "json:/var/log/penstock/access.log"
cause_header = true

[fleet]
hash_seed = "prod-\"2026\""
members = ["10.0.0.2", "lb2.example.com"]

[fleet.bgp]
asn = 65010
router_id = "10.0.0.2"
peers = ["10.0.0.1", "fd00::1 as 4200000001"]
announce = ["203.0.113.10/32", "2001:db8:1::/48"]
bfd = false
withdraw_wait = "500ms"
include = "/run/penstock/routes.conf"

[listener.web]
address = [":8080", "[::1]:8081", "unix:/run/web.sock"]
filters = ["jwt", { filter = "rate", config = { per = "ip", burst = 10, share = 0.5 } }]
lenient = ["obs-fold"]
trusted = ["10.0.0.0/8", "::1", "unix"]
forwarded = "both"
proxy_protocol = { from = "10.0.0.0/8" }
limits = { head = "16KiB", line = "8KiB", uri = 4096 }
timeouts = { request_head = "2s" }

[[listener.web.route]]
host = ["api.example.com", "*.api.example.com"]
path = "/v2/*"
method = ["GET", "POST"]
headers = { "X-Beta" = "1", x-debug = false, x-any = true, agent = "*bot*" }
query = { page = "1*" }
split = [{ to = "api-v2", weight = 5 }, { to = "api", weight = 95 }]
rewrite = { prefix = "/v1" }
request_headers = { remove = ["x-a"], set = { "X-B" = "1" }, add = { x-c = "\"q\"" } }
response_headers = { remove = ["server"] }
timeout = "3s"
retry = { attempts = 1, on = ["reset"] }
filters = [{ filter = "jwt", config = "plain text" }]
upgrade = []
websocket = { idle = "10m", ping = "30s" }

[[listener.web.route]]
service = ["shop.v1.Cart", "shop.v1.Order/Place"]
to = "api"

[[listener.web.route]]
path = "/old/*/x"
redirect = { to = "https://{host}{path}{query}", status = 301 }

[[listener.web.route]]
respond = { status = 404, body = "no\n", headers = { content-type = "text/plain" } }

[service.db]
vip = ["203.0.113.10", "2001:db8::10"]
ports = ["tcp/5432", "tcp/6432"]
mode = "terminate"
retries = 1
to = "api-v2"
timeouts = { idle = "1h" }
limits = { connections = 5000 }
proxy_protocol = { from = ["10.0.0.0/8", "fd00::/8"], timeout = "1s" }
send_proxy_protocol = "v2"

[service.one]
vip = "203.0.113.11"
ports = "tcp/25"
to = "api"

[service.tls]
vip = "203.0.113.12"
ports = "tcp/443"

[[service.tls.route]]
server_name = ["example.com", "*.example.com"]
to = "api"

[[service.tls.route]]
server_name = "example.org"
to = "api-v2"

[service.dns]
vip = "203.0.113.13"
ports = ["udp/53", "tcp/53"]
mode = "nat"
interface = ["eth0", "eth1"]
timeouts = { closed = "1s", datagram = "5s" }
to = "packets"

[service.edge]
vip = ["203.0.113.14", "2001:db8::14"]
ports = "tcp/443"
mode = "dsr"
encap = "ipip"
move_when_down = "all"
interface = "eth0"
to = "packets"

[cluster.packets]
endpoints = ["10.0.0.21", { address = "10.0.0.22", weight = 3 }, "2001:db8::21"]

[cluster.api]
endpoints = ["10.0.0.1:80", { address = "10.0.0.2:80", weight = 3 }, "unix:/run/app.sock"]
balance = "maglev"
hash = "header:x-user"
limits = { requests = 16384, queued = 0 }

[cluster.api-v2]
endpoints = ["[2001:db8::1]:80"]
protocol = "h2"
balance = "weighted-round-robin"
timeouts = { connect = "250ms" }

[filter.jwt]
wasm = "/usr/lib/penstock/filters/jwt-auth.wasm"
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
config = { issuer = "https://id.example.com", nested = { list = [1, "two", { three = 3 }] } }
memory = "4MiB"
vm_id = "auth"
environment = { MODE = "strict" }
deadline = { headers = "2ms" }
on_error = "deny"
capabilities = ["headers", "http-call"]
http_calls = ["api"]
grpc_calls = ["api-v2"]
grpc_message_max = "64KiB"

canary = { share = "2.5%", wasm = "jwt-2.wasm", config = { issuer = "https://id.example.com" } }
rollback = { failures = 3, rate = "0.5%", window = "30s", probation = "1h" }

[filter.rate]
wasm = "rate.wasm"
on_error = "allow"
canary = { share = "50%", config = "" }
"#;

#[track_caller]
fn check(text: &str) -> Config {
    let config = parse(text).unwrap_or_else(|findings| panic!("{findings}"));
    let written = config.to_toml();
    let again = parse(&written).unwrap_or_else(|findings| panic!("{findings}\n{written}"));
    assert_eq!(config, again, "{written}");
    assert_eq!(diff(&config, &again), []);
    assert_eq!(written, again.to_toml());
    config
}

#[test]
fn a_config_that_is_written_back_reads_the_same() {
    check("");
    check(MINIMAL);
    check(FULL);
}

#[test]
fn names_become_indexes() {
    let config = check(FULL);
    let route = &config.listeners[0].routes[0];
    let Action::Forward(forward) = &route.action else { panic!("{route:?}") };
    let names: Vec<&str> =
        forward.shares().iter().map(|share| &*config.cluster(share.cluster).name).collect();
    assert_eq!(names, ["api-v2", "api"]);
    assert_eq!(forward.weight_total(), 100);
    assert_eq!(config.cluster_named("api"), config.filters[0].http_calls.first().copied());
    assert_eq!(&*config.filter(config.listeners[0].filters[1].filter).name, "rate");
}

#[test]
fn filters_are_given_json_or_text_as_it_stands() {
    let config = check(FULL);
    let expected = r#"{"issuer":"https://id.example.com","nested":{"list":[1,"two",{"three":3}]}}"#;
    assert_eq!(config.filters[0].config.text(), expected);
    let listener = &config.listeners[0];
    let text = |config: &Option<crate::Payload>| config.as_ref().map(|c| c.text().into_owned());
    let rate = r#"{"burst":10,"per":"ip","share":0.5}"#;
    assert_eq!(text(&listener.filters[1].config).as_deref(), Some(rate));
    assert_eq!(text(&listener.routes[0].filters[0].config).as_deref(), Some("plain text"));
    assert_eq!(config.filters[1].config.text(), "");
}

#[test]
fn a_diff_names_what_was_added_changed_and_removed() {
    let before = check(MINIMAL);
    let after = check(&MINIMAL.replace("9001\"]", "9001\"]\nlimits = { queued = 7 }"));
    let [change] = &diff(&before, &after)[..] else { panic!("one change") };
    let expected = json!({
        "kind": "changed", "path": "cluster.app.limits.queued", "before": 1024, "after": 7,
    });
    assert_eq!(change.to_json(), expected);

    let without = check("[cluster.app]\nendpoints = [\"127.0.0.1:9001\"]");
    let changes = diff(&without, &before);
    assert!(changes.iter().all(|c| c.before.is_none() && c.path.starts_with("listener.web.")));
    let changes = diff(&before, &without);
    assert!(!changes.is_empty() && changes.iter().all(|change| change.after.is_none()));
}

#[test]
fn what_follows_from_other_keys_is_shown_and_means_the_same() {
    let text = r#"
[service.dns]
vip = "10.9.0.1"
ports = ["udp/53"]
to = "a"
[service.mixed]
vip = "10.9.0.2"
ports = ["udp/53", "udp/54", "tcp/80"]
timeouts = { idle = "7s" }
to = "a"
[service.web]
vip = "10.9.0.3"
ports = ["tcp/80"]
mode = "dsr"
interface = "eth0"
to = "b"
[cluster.a]
endpoints = ["10.0.0.1:53"]
[cluster.b]
endpoints = ["10.0.0.1"]
[filter.f]
wasm = "f.wasm"
"#;
    let shown = parse(text).expect("a config").to_effective_tree();
    let json = shown.to_json();
    for (path, expected) in [
        ("/service/dns/timeouts/datagram", json!("5s")),
        ("/service/dns/timeouts/write_stall", json!("10m")),
        ("/service/mixed/timeouts/write_stall", json!("7s")),
        ("/service/mixed/timeouts/datagram", json!(null)),
        ("/service/web/encap", json!("gre")),
        ("/service/web/move_when_down", json!("udp")),
        ("/filter/f/vm_id", json!("f")),
    ] {
        assert_eq!(json.pointer(path).unwrap_or(&json!(null)), &expected, "{path}");
    }
    for text in [text, FULL, MINIMAL] {
        let shown = parse(text).expect("a config").to_effective_tree();
        let again = parse(&shown.to_toml()).expect("it is one, too").to_effective_tree();
        assert_eq!(again, shown);
    }
}
