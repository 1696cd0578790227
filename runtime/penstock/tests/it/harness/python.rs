//! Peers written in Python, over libraries of PyPI.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Python for `script` of this folder, with the libraries that it imports, in a folder that
/// `PENSTOCK_PYTHON` may name. Where there are none, says so, or fails if nothing may be skipped.
pub fn python(imports: &str, script: &str) -> Option<Command> {
    let mut python = Command::new("python3");
    if let Some(folder) = std::env::var_os("PENSTOCK_PYTHON").filter(|path| !path.is_empty()) {
        python.env("PYTHONPATH", folder);
    }
    let probe = Command::new("python3")
        .args(["-c", &format!("import {imports}")])
        .envs(python.get_envs().filter_map(|(key, value)| Some((key, value?))))
        .stderr(Stdio::null())
        .status();
    if probe.is_ok_and(|status| status.success()) {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        python.arg(folder.join(Path::new("tests/it")).join(script));
        return Some(python);
    }
    assert!(std::env::var_os("PENSTOCK_TEST_ALL").is_none(), "no {imports} in Python");
    let _ = writeln!(std::io::stderr(), "skipped: no {imports} in Python");
    None
}

/// A server in Python; it ends with its input.
pub struct PythonServer {
    child: Child,
    pub address: SocketAddr,
}

impl PythonServer {
    /// Runs a script's `serve`, which says its port.
    pub fn start(mut python: Command) -> PythonServer {
        let mut child = python
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().expect("it is piped"));
        said.read_line(&mut line).expect("its port");
        let port: u16 = line.trim().parse().expect("a port");
        PythonServer { child, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
