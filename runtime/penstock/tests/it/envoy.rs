//! The committed modules in Envoy and here: same requests, same answers.
//!
//! Each request goes over a connection of its own to both; the origin behind them answers with
//! what reached it, so that what a filter does to a request is seen as well. Not compared is what
//! the proxies say of themselves (`Date`, `Server: envoy`, `Via`) and how a body is framed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use serde_json::{Value, json};

use crate::harness::{Client, Envoy, Origin, Penstock, Plugin, Reply, until};

const PROXY_WASM: Plugin<'_> = Plugin {
    wasm: "tests/fixtures/filters/proxy-wasm/callbacks.wasm",
    config: "hello",
    root_id: "",
};
const ASSEMBLYSCRIPT: Plugin<'_> = Plugin {
    wasm: "tests/fixtures/filters/assemblyscript/callbacks.wasm",
    config: "hello",
    root_id: "callbacks",
};

/// The same filter in both, in front of the same origin.
struct Both {
    envoy: Envoy,
    envoy_address: SocketAddr,
    penstock: Penstock,
    /// What the cluster that the filter calls answers.
    auth: Arc<AtomicU16>,
    _origins: [Origin; 2],
}

impl Both {
    /// Starts them; none where Envoy is not installed.
    fn start(plugin: Plugin<'_>) -> Option<Both> {
        let program = Envoy::program()?;
        let auth = Arc::new(AtomicU16::new(200));
        let (app, status) = (Origin::reading(echo), Arc::clone(&auth));
        let side = Origin::start(move |_| match status.load(Relaxed) {
            // Cut off without an answer.
            0 => String::new(),
            status => answer(status, "", "body"),
        });
        let (penstock, envoy) = (here(plugin, &app, &side), (app.address, side.address));
        let envoy = Envoy::start(&program, plugin, envoy.0, envoy.1);
        let envoy_address = envoy.address();
        Some(Both { envoy, envoy_address, penstock, auth, _origins: [app, side] })
    }

    /// Sends `request` to both and compares; the answer is to be `status` and to have each of
    /// `expected` in it, as a whole line.
    #[track_caller]
    fn check(&self, request: &str, status: u16, expected: &[&str]) {
        let there = ask(self.envoy_address, request);
        let here = ask(self.penstock.address("web"), request);
        let (ours, theirs) = (self.penstock.errors(), self.envoy.errors());
        assert_eq!(here, there, "{request}\nhere, there\nwe said: {ours}\nEnvoy said: {theirs}");
        assert_eq!(here.lines().next(), Some(status.to_string().as_str()), "{here}");
        for line in expected {
            assert!(here.lines().any(|one| one == *line), "{line} is not in {here}");
        }
    }
}

fn here(plugin: Plugin<'_>, app: &Origin, auth: &Origin) -> Penstock {
    Penstock::start(&format!(
        "[listener.web]\naddress = \"127.0.0.1:0\"\nforwarded = \"off\"\nfilters = [\"one\"]\n\
         to = \"app\"\n\
         [cluster.app]\nendpoints = [\"{}\"]\n[cluster.auth]\nendpoints = [\"{}\"]\n\
         [filter.one]\nwasm = \"{}\"\nconfig = '''{}'''\nroot_id = \"{}\"\n\
         http_calls = [\"auth\"]\n\
         # Not what is compared, and the machine may be busy.\n\
         deadline = {{ headers = \"1s\", body = \"1s\" }}\n",
        app.address,
        auth.address,
        plugin.path().display(),
        plugin.config,
        plugin.root_id,
    ))
}

/// Asks one of them, and brings the answer into the form that is compared.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut client = Client::connect(address);
    client.send(request).expect("sent");
    let Reply { status, head, body } = client.reply().expect("an answer");
    let mut fields: Vec<String> = head.lines().skip(1).filter_map(field).collect();
    fields.sort_unstable();
    let text = format!("{status}\n{}\n\n{body}", fields.join("\n"));
    text.replace(&client.source().to_string(), "SOURCE")
}

/// A field that is compared, as `name: value`.
fn field(line: &str) -> Option<String> {
    let (name, value) = line.split_once(':')?;
    let (name, value) = (name.to_ascii_lowercase(), value.trim());
    let own = ["date", "via", "connection", "content-length", "transfer-encoding"];
    let own = own.contains(&name.as_str()) || (name == "server" && value == "envoy");
    // Seconds pass between the one and the other.
    let value = if name == "retry-after" { "SECONDS" } else { value };
    (!own).then(|| format!("{name}: {value}"))
}

/// An origin that answers with what it was asked: the first line, fields in order, the body.
fn echo(head: &str, body: &str) -> String {
    let mut fields: Vec<String> = head.lines().skip(1).filter_map(field).collect();
    fields.retain(|field| field.starts_with("x-") && !field.starts_with("x-forwarded-proto"));
    fields.sort_unstable();
    let asked = head.lines().next().unwrap_or_default();
    answer(200, "X-Origin: 1\r\n", &format!("{asked}\n{}\n{body}\n", fields.join("\n")))
}

fn answer(status: u16, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Whatever\r\nServer: origin\r\nContent-Type: text/plain\r\n\
         {fields}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

/// What modules of both SDKs do alike.
#[track_caller]
fn foreign(plugin: Plugin<'_>, (reply, body, end): (&str, &str, &str)) {
    let Some(both) = Both::start(plugin) else { return };
    let passes = |path: &str, fields: &str| {
        let lines = ["x-greeting: hello", "x-source: SOURCE", "x-origin: 1"];
        both.check(&get(path, fields), 200, &lines);
    };
    passes("/", "X-Gone: 1\r\n");
    passes("/a?b=c&d", "X-A: 0\r\nX-A: 2\r\nX-Kept: yes\r\n");
    let post = "POST / HTTP/1.1\r\nHost: h\r\n";
    let shown = ["x-greeting: hello", body];
    both.check(&format!("{post}Content-Length: 4\r\n\r\nabcd"), 200, &shown);
    let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n");
    both.check(&format!("{chunked}\r\n"), 200, &shown);
    both.check(&get("/answer", ""), 403, &["x-why: answer", &format!("turned away{end}")]);
    both.check(&format!("{post}Content-Length: 0\r\n\r\n"), 200, &["x-greeting: hello"]);
    both.check(&get("/call", ""), 200, &[&format!("x-reply: {reply}")]);
    for failing in [404, 503, 0] {
        both.auth.store(failing, Relaxed);
        both.check(&get("/call", ""), 502, &[&format!("no reply{end}")]);
    }
    both.auth.store(200, Relaxed);
    both.check(&get("/call", "X-Late: 1\r\n"), 200, &[&format!("x-reply: {reply}"), "x-late: 1"]);
    // What reaches the others differs from here on: Envoy refuses every request after a panic,
    // and a fresh instance serves here.
    both.check(&get("/panic", ""), 503, &[]);
    let again = ask(both.penstock.address("web"), &get("/", ""));
    assert!(again.starts_with("200\n"), "{again}");
}

#[test]
fn a_filter_of_crate_proxy_wasm_behaves_as_in_envoy() {
    foreign(PROXY_WASM, ("body", "ABCD", "!"));
}

#[test]
fn a_filter_of_assemblyscript_behaves_as_in_envoy() {
    foreign(ASSEMBLYSCRIPT, ("200", "abcd", ""));
}

fn shipped(name: &str, config: &Value) -> Option<Both> {
    let (wasm, config) = (format!("filters/compiled/{name}.wasm"), config.to_string());
    Both::start(Plugin { wasm: &wasm, config: &config, root_id: "" })
}

#[test]
fn header_edit_behaves_as_in_envoy() {
    let Some(both) = shipped(
        "header-edit",
        &json!({
            "request": { "remove": ["x-debug"], "set": { "x-a": "1" }, "add": { "x-c": "2" } },
            "response": { "remove": ["server"], "set": { "x-b": "3" }, "add": { "x-origin": "2" } },
        }),
    ) else {
        return;
    };
    let lines = ["x-a: 1", "x-b: 3", "x-c: 2", "x-origin: 1", "x-origin: 2"];
    both.check(&get("/", ""), 200, &lines);
    both.check(&get("/", "X-Debug: 1\r\nX-A: 7\r\nX-A: 8\r\nX-C: 9\r\n"), 200, &lines);
}

/// Keys and tokens made by another library.
fn tokens() -> Value {
    let path = "../../filters-sdk/testing/tests/tokens.json";
    let text = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the file");
    serde_json::from_slice(&text).expect("JSON")
}

#[test]
fn jwt_auth_behaves_as_in_envoy() {
    let made = tokens();
    let mut keys = made["keys"].as_array().expect("keys").clone();
    keys.push(made["secret"].clone());
    let config = json!({
        "audience": "orders", "keys": { "keys": keys }, "forward": { "sub": "x-user" },
    });
    let Some(both) = shipped("jwt-auth", &config) else { return };
    for algorithm in ["HS256", "RS256", "ES256"] {
        let token = made["tokens"][algorithm].as_str().expect("a token");
        let bearer = format!("Authorization: Bearer {token}\r\nX-User: forged\r\n");
        both.check(&get("/", &bearer), 200, &["x-user: ada"]);
        let forged = bearer.replace(token, &format!("{}AAAA", &token[..token.len() - 4]));
        both.check(&get("/", &forged), 401, &[]);
    }
    both.check(&get("/", ""), 401, &[]);
    both.check(&get("/", "Authorization: Basic YTpi\r\n"), 401, &[]);
}

#[test]
fn rate_limit_behaves_as_in_envoy() {
    let limit =
        json!({ "name": "key", "key": ["header:x-key"], "requests": 2, "per_seconds": 4000 });
    let Some(both) = shipped("rate-limit", &json!({ "limits": [limit] })) else { return };
    let policy = "ratelimit-policy: \"key\";q=2;w=4000";
    for key in ["a", "b"] {
        let request = get("/", &format!("X-Key: {key}\r\n"));
        both.check(&request, 200, &[policy, "ratelimit: \"key\";r=1;t=2000"]);
        both.check(&request, 200, &[policy]);
        both.check(&request, 429, &["retry-after: SECONDS"]);
    }
}

#[test]
fn canary_route_behaves_as_in_envoy() {
    let config = json!({
        "key": ["header:x-user", "ip"],
        "variants": [{
            "name": "canary", "percent": 50, "when": [{ "cookie": "beta", "value": "1" }],
        }],
    });
    let Some(both) = shipped("canary-route", &config) else { return };
    both.check(&get("/", "Cookie: beta=1\r\n"), 200, &["x-variant: canary"]);
    for user in 0..20 {
        both.check(&get("/", &format!("X-User: {user}\r\n")), 200, &[]);
    }
    both.check(&get("/", "X-Variant: forged\r\n"), 200, &[]);
}

#[test]
fn ip_tag_behaves_as_in_envoy() {
    for (deny, status) in [("elsewhere", 200), ("home", 403)] {
        let config = json!({
            "tags": { "home": ["127.0.0.0/8"], "elsewhere": ["0.0.0.0/0", "::/0"] },
            "deny": [deny],
        });
        let Some(both) = shipped("ip-tag", &config) else { return };
        both.check(&get("/", "X-Ip-Tag: forged\r\n"), status, &[]);
    }
}

#[test]
fn access_metrics_counts_as_in_envoy() {
    let Some(both) = shipped("access-metrics", &json!({ "by": "cluster" })) else { return };
    for path in ["/", "/a", "/b?c"] {
        both.check(&get(path, ""), 200, &["x-origin: 1"]);
    }
    // Written when an exchange is over, which may be after its answer was read.
    until("Envoy counted", || {
        (both.envoy.counter("wasmcustom.requests.app.2xx") == Some(3)).then_some(())
    });
    until("we counted", || {
        let counter = "penstock_wasm_requests_app_2xx_total{filter=\"one\"}";
        (both.penstock.metric(counter) == 3.0).then_some(())
    });
}
