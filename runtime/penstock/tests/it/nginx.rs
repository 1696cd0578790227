//! Between curl and nginx, which were not written by us.

use std::process::{Child, Command, Stdio};

use crate::harness::{Folder, Penstock, config_of, installed, until};

struct Nginx {
    child: Child,
    address: std::net::SocketAddr,
    _folder: Folder,
}

impl Nginx {
    fn start() -> Nginx {
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
             server {{ listen {address}; root {root};\n\
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
    let nginx = Nginx::start();
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
