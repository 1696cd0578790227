//! Pebble, the test server of ACME, with a name server that says of every host that it is here.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use serde_json::json;

use super::{Certificates, until};

/// A running Pebble; killed when dropped.
pub struct Pebble {
    children: Vec<Child>,
    files: Certificates,
    directory: SocketAddr,
    management: SocketAddr,
    /// Where it asks for proofs over plain HTTP.
    pub http: SocketAddr,
    /// Where it asks for proofs over TLS.
    pub tls: SocketAddr,
}

impl Pebble {
    /// One whose certificates are valid for so long.
    pub fn start(valid_seconds: u32) -> Pebble {
        let files = Certificates::make(&["127.0.0.1"]);
        let [directory, management, http, tls, names, names_management] = [(); 6].map(|()| port());
        let config = json!({ "pebble": {
            "listenAddress": directory.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": files.path("0.pem"),
            "privateKey": files.path("0.key"),
            "httpPort": http.port(),
            "tlsPort": tls.port(),
            "certificateValidityPeriod": valid_seconds,
        } });
        let path = files.path("pebble.json");
        std::fs::write(&path, config.to_string()).expect("written");
        let quiet = |program: &str| {
            let mut command = Command::new(program);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let name_server = quiet("pebble-challtestsrv")
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
            .args(["-dns01", &names.to_string(), "-management", &names_management.to_string()])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .spawn()
            .expect("the name server starts");
        let pebble = quiet("pebble")
            .args(["-config", &path, "-dnsserver", &names.to_string()])
            // It sleeps at random otherwise, up to 15 s for each proof.
            .env("PEBBLE_VA_NOSLEEP", "1")
            // And refuses a twentieth of all nonces, now and then three of one request in a row.
            .env("PEBBLE_WFE_NONCEREJECT", "0")
            .spawn()
            .expect("it starts");
        let children = vec![pebble, name_server];
        for address in [directory, management, names_management] {
            until("Pebble listens", || TcpStream::connect(address).ok());
        }
        Pebble { children, files, directory, management, http, tls }
    }

    /// The keys of `acme` that lead to it.
    pub fn acme(&self) -> String {
        let ca = self.files.path("ca.pem");
        format!("directory = \"https://{}/dir\", directory_ca = \"{ca}\"", self.directory)
    }

    /// Writes the authority that signs its certificates; the file's path.
    pub fn root(&self) -> String {
        let path = self.files.path("root.pem");
        let output = Command::new("curl")
            .args(["-sSf", "--max-time", "20", "--cacert", &self.files.path("ca.pem")])
            .args(["-o", &path, &format!("https://{}/roots/0", self.management)])
            .output()
            .expect("curl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        path
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port that is free, and that the kernel gives to nobody: below those it chooses from.
fn port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 20_000 + u16::try_from(std::process::id() % 10_000).expect("below 10,000");
    until("a port is free", || {
        let address = SocketAddr::from(([127, 0, 0, 1], start + NEXT.fetch_add(1, Relaxed)));
        TcpListener::bind(address).is_ok().then_some(address)
    })
}
