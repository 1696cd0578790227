//! Envoy with one WASM filter, for answers to compare ours with.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{Client, Folder, PATIENCE, installed, until};

/// A filter, as any host would be told of it.
#[derive(Clone, Copy, Default)]
pub struct Plugin<'a> {
    /// The module's path, from the repository's root.
    pub wasm: &'a str,
    pub config: &'a str,
    pub root_id: &'a str,
}

impl Plugin<'_> {
    /// The module's path.
    pub fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(self.wasm)
    }
}

/// A running Envoy; killed when dropped.
pub struct Envoy {
    child: Child,
    admin: SocketAddr,
    folder: Folder,
}

impl Envoy {
    /// The program: `PENSTOCK_ENVOY`, or `envoy` on the path. Where there is none, says so, or
    /// fails if nothing may be skipped.
    pub fn program() -> Option<OsString> {
        let named = std::env::var_os("PENSTOCK_ENVOY").filter(|path| !path.is_empty());
        named.or_else(|| installed("envoy").then(|| "envoy".into()))
    }

    /// Starts it with `plugin` in front of `app`; the filter may call `auth`.
    pub fn start(
        program: &OsString,
        plugin: Plugin<'_>,
        app: SocketAddr,
        auth: SocketAddr,
    ) -> Self {
        Self::start_with(program, &text(plugin, app, auth))
    }

    /// The same for a plugin of raw connections: what is behind it is TCP.
    pub fn start_raw(
        program: &OsString,
        plugin: Plugin<'_>,
        app: SocketAddr,
        auth: SocketAddr,
    ) -> Self {
        Self::start_with(program, &raw(plugin, app, auth))
    }

    fn start_with(program: &OsString, text: &Value) -> Self {
        let folder = Folder::new();
        let (config, admin) = (folder.join("envoy.json"), folder.join("admin"));
        let errors = std::fs::File::create(folder.join("stderr")).expect("a file");
        std::fs::write(&config, text.to_string()).expect("written");
        let child = Command::new(program)
            .args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning", "-c"])
            .arg(config)
            .arg("--admin-address-path")
            .arg(&admin)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .expect("Envoy starts");
        let mut envoy = Envoy { child, admin: SocketAddr::from(([0; 4], 0)), folder };
        envoy.admin = until("Envoy's admin page", || {
            let ended = envoy.child.try_wait().expect("a child");
            assert!(ended.is_none(), "Envoy ended at once: {}", envoy.errors());
            std::fs::read_to_string(&admin).ok()?.parse().ok()
        });
        // Before that it accepts nothing: modules are compiled first.
        until("Envoy is ready", || (envoy.ask("/ready") == "LIVE\n").then_some(()));
        envoy
    }

    /// Where its listener is.
    pub fn address(&self) -> SocketAddr {
        let listeners: Value =
            serde_json::from_str(&self.ask("/listeners?format=json")).expect("JSON");
        let place = &listeners["listener_statuses"][0]["local_address"]["socket_address"];
        let port = place["port_value"].as_u64().expect("a port");
        SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("a port")))
    }

    /// A counter of its own.
    pub fn counter(&self, name: &str) -> Option<u64> {
        let stats = self.ask("/stats");
        let line = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(|value| value.parse().expect("a number"))
    }

    /// What it wrote to its standard error.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }

    fn ask(&self, path: &str) -> String {
        Client::connect(self.admin).get(path).expect("an answer").body
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As near to us as its settings come: no fields of its own, nothing retried, trailers passed.
fn text(plugin: Plugin<'_>, app: SocketAddr, auth: SocketAddr) -> Value {
    let filter = typed("envoy.extensions.filters.http.wasm.v3.Wasm", loaded(plugin));
    let router = typed(
        "envoy.extensions.filters.http.router.v3.Router",
        json!({ "suppress_envoy_headers": true }),
    );
    let route = json!({ "match": { "prefix": "/" }, "name": "web", "route": { "cluster": "app" } });
    let manager = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "web",
            "generate_request_id": false,
            "skip_xff_append": true,
            "server_header_transformation": "PASS_THROUGH",
            "http_protocol_options": { "enable_trailers": true },
            "route_config": { "virtual_hosts": [
                { "name": "web", "domains": ["*"], "routes": [route] },
            ] },
            "http_filters": [
                { "name": "one", "typed_config": filter },
                { "name": "router", "typed_config": router },
            ],
        }),
    );
    around(&json!([{ "name": "web", "typed_config": manager }]), app, auth)
}

/// The same for raw connections.
fn raw(plugin: Plugin<'_>, app: SocketAddr, auth: SocketAddr) -> Value {
    let filter = typed("envoy.extensions.filters.network.wasm.v3.Wasm", loaded(plugin));
    let proxy = typed(
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        json!({ "stat_prefix": "app", "cluster": "app" }),
    );
    let filters = json!([
        { "name": "one", "typed_config": filter },
        { "name": "app", "typed_config": proxy },
    ]);
    around(&filters, app, auth)
}

fn typed(name: &str, mut settings: Value) -> Value {
    settings["@type"] = format!("type.googleapis.com/{name}").into();
    settings
}

/// The plugin with its configuration.
fn loaded(plugin: Plugin<'_>) -> Value {
    json!({ "config": {
        "name": "one",
        "root_id": plugin.root_id,
        "configuration": typed("google.protobuf.StringValue", json!({ "value": plugin.config })),
        "vm_config": {
            "vm_id": "one",
            "runtime": "envoy.wasm.runtime.v8",
            "code": { "local": { "filename": plugin.path() } },
        },
    } })
}

/// Everything, around these network filters.
fn around(filters: &Value, app: SocketAddr, auth: SocketAddr) -> Value {
    let anywhere = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 0 } });
    json!({
        "admin": { "address": anywhere },
        "static_resources": {
            "listeners": [{
                "name": "web",
                "address": anywhere,
                "filter_chains": [{ "filters": filters }],
            }],
            "clusters": [cluster("app", app), cluster("auth", auth)],
        },
    })
}

fn cluster(name: &str, address: SocketAddr) -> Value {
    let place = json!({ "address": address.ip().to_string(), "port_value": address.port() });
    let endpoint = json!({ "endpoint": { "address": { "socket_address": place } } });
    json!({
        "name": name,
        "connect_timeout": format!("{}s", PATIENCE.as_secs()),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [endpoint] }],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type":
                    "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {
                    "http_protocol_options": { "enable_trailers": true },
                },
            },
        },
    })
}
