//! Between curl and nginx, which were not written by us.

use std::process::{Child, Command, Stdio};

use crate::harness::{Certificates, Folder, Penstock, config_of, installed, until};

struct Nginx {
    child: Child,
    address: std::net::SocketAddr,
    _folder: Folder,
}

impl Nginx {
    /// Starts it, with `more` of its `listen` and behind that.
    fn start(more: &str) -> Nginx {
        let folder = Folder::new();
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        std::fs::write(folder.join("large"), vec![b'x'; 3 << 20]).expect("written");
        let (root, config) = (folder.join(""), folder.join("nginx.conf"));
        let text = format!(
            "daemon off; master_process off; pid {root}/pid; error_log {root}/errors;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/p;\n\
             fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
             gzip on; gzip_types text/plain; default_type text/plain;\n\
             server {{ listen {address}{more}; root {root};\n\
             location /spoken {{ return 200 \"$server_protocol\\n\"; }}\n\
             location /echo {{ return 200 \"$request_method $http_x_forwarded_for\\n\"; }} }} }}\n",
            root = root.display().to_string().trim_end_matches('/')
        );
        std::fs::write(&config, text).expect("written");
        let child = Command::new("nginx")
            .arg("-e")
            .arg(folder.join("errors"))
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        let nginx = Nginx { child, address, _folder: folder };
        until("nginx listens", || std::net::TcpStream::connect(nginx.address).ok());
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn curl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("curl").args(["-sS", "--max-time", "20"]).args(arguments).output();
    let output = output.expect("curl runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {arguments:?}: {errors}");
    output.stdout
}

#[test]
fn files_ranges_compression_and_methods_pass_between_curl_and_nginx() {
    // On Debian nginx is in sbin, which a plain user's path may not have.
    if !installed("nginx") || !installed("curl") {
        return;
    }
    let nginx = Nginx::start("");
    let penstock = Penstock::start(&config_of(&[nginx.address]));
    let url = |path: &str| format!("http://{}{path}", penstock.address("web"));
    assert_eq!(curl(&[&url("/large")]).len(), 3 << 20);
    assert_eq!(curl(&["-r", "0-99", &url("/large")]).len(), 100);
    // nginx compresses as it goes: chunked, of no known length.
    assert_eq!(curl(&["--compressed", &url("/large")]).len(), 3 << 20);
    assert_eq!(curl(&["--http1.0", &url("/large")]).len(), 3 << 20);
    assert_eq!(curl(&["-I", &url("/large")]).split(|byte| *byte == b' ').nth(1), Some(&b"200"[..]));
    assert_eq!(curl(&[&url("/echo")]), b"GET 127.0.0.1\n");
    assert_eq!(curl(&["-X", "DELETE", &url("/echo")]), b"DELETE 127.0.0.1\n");
    let upload = ["-T", "-", "-H", "Expect: 100-continue"];
    let mut put = Command::new("curl");
    put.args(["-sS", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}"]);
    let output = put.args(upload).arg(url("/echo")).stdin(Stdio::null()).output().expect("curl");
    assert_eq!(output.stdout, b"200");
    // Two requests on one connection.
    let both = curl(&[&url("/echo"), &url("/echo")]);
    assert_eq!(both, b"GET 127.0.0.1\nGET 127.0.0.1\n");
}

#[test]
fn nginx_is_asked_over_http2_in_the_clear_and_in_tls() {
    if !installed("nginx") || !installed("curl") || !installed("h2load") {
        return;
    }
    let files = Certificates::make(&["127.0.0.1"]);
    let tls = format!(
        " ssl http2; ssl_certificate {}; ssl_certificate_key {}",
        files.path("0.pem"),
        files.path("0.key")
    );
    let ca = format!("tls = {{ ca = \"{}\" }}\n", files.path("ca.pem"));
    for (listen, cluster) in [(" http2", ""), (&*tls, &*ca)] {
        let nginx = Nginx::start(listen);
        let config = format!("{}protocol = \"h2\"\n{cluster}", config_of(&[nginx.address]));
        let penstock = Penstock::start(&config);
        let url = |path: &str| format!("http://{}{path}", penstock.address("web"));
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            assert_eq!(curl(&[version, &url("/spoken")]), b"HTTP/2.0\n");
            assert_eq!(curl(&[version, &url("/large")]).len(), 3 << 20);
            assert_eq!(curl(&[version, "-r", "0-99", &url("/large")]).len(), 100);
            assert_eq!(curl(&[version, "--compressed", &url("/large")]).len(), 3 << 20);
            let head = curl(&[version, "-I", &url("/large")]);
            assert!(String::from_utf8_lossy(&head).contains("ength: 3145728"), "{head:?}");
            let large = "x".repeat(1_000);
            assert_eq!(curl(&[version, "-d", &large, &url("/echo")]), b"POST 127.0.0.1\n");
        }
        for program in [&["--h1"][..], &["-m", "32"][..]] {
            let mut load = Command::new("h2load");
            load.args(["-n", "2000", "-c", "8"]).args(program);
            let report = load.arg(url("/spoken")).output().expect("h2load runs").stdout;
            let report = String::from_utf8_lossy(&report).into_owned();
            assert!(report.contains("2000 2xx"), "{report}");
        }
    }
}
