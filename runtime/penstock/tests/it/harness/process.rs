//! The process under test.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{PATIENCE, until};

/// A folder that goes with the test.
pub struct Folder(PathBuf);

impl Folder {
    /// A new one.
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("penstock-it-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a verb to its end.
pub fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
    command.args(arguments).stdin(Stdio::null()).output().expect("it runs")
}

/// A running `penstock run`; killed when dropped.
pub struct Penstock {
    child: Child,
    pub folder: Folder,
}

impl Penstock {
    /// Starts it with `config` behind a head of the harness, and waits until it is ready.
    pub fn start(config: &str) -> Penstock {
        Penstock::start_in(Folder::new(), config)
    }

    /// The same in a folder that is there already.
    pub fn start_in(folder: Folder, config: &str) -> Penstock {
        write_config(&folder, config);
        let penstock = Command::new(env!("CARGO_BIN_EXE_penstock"));
        Penstock::start_by(penstock, folder)
    }

    /// The same with the config that is in the folder, by a command that ends in the program.
    pub fn start_by(mut command: Command, folder: Folder) -> Penstock {
        let errors = std::fs::File::create(folder.join("stderr")).expect("a file");
        let child = command
            .arg("run")
            .arg(folder.join("penstock.toml"))
            .stdin(Stdio::null())
            .stderr(errors)
            .spawn()
            .expect("it starts");
        let mut penstock = Penstock { child, folder };
        until("the admin socket answers", || {
            let ended = penstock.child.try_wait().expect("a child");
            assert!(ended.is_none(), "it ended at once: {}", penstock.errors());
            penstock.try_ask("GET", "/ready", "", "").filter(|(status, _)| *status == 200)
        });
        penstock
    }

    /// Writes another config in the place of its own, for the next reload.
    pub fn write(&self, config: &str) {
        write_config(&self.folder, config);
    }

    /// Asks the admin API: status and body.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str) -> (u16, String) {
        self.try_ask(method, path, "", "").expect("the admin API answers")
    }

    /// Asks for JSON.
    #[track_caller]
    pub fn json(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// The value of a metric without labels, or with exactly those in `name`.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.ask("GET", "/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Reads the config again, and says how that went.
    #[track_caller]
    pub fn reload(&self) -> (u16, String) {
        self.ask("POST", "/v1/reload")
    }

    fn try_ask(&self, method: &str, path: &str, fields: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: x\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// The admin socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("admin.sock")
    }

    /// The first address of a listener.
    #[track_caller]
    pub fn address(&self, listener: &str) -> SocketAddr {
        self.first_address("/v1/listeners", listener)
    }

    /// The first address of a service that terminates.
    #[track_caller]
    pub fn service_address(&self, service: &str) -> SocketAddr {
        self.first_address("/v1/services", service)
    }

    #[track_caller]
    fn first_address(&self, path: &str, name: &str) -> SocketAddr {
        let entrances = self.json(path);
        let found = entrances.as_array().expect("a list").iter().find(|one| one["name"] == name);
        let address = &found.expect("it is there")["addresses"][0];
        address.as_str().expect("an address").parse().expect("an IP address")
    }

    /// CPU time that it has used, in clock ticks: proc_pid_stat(5), `utime` and `stime`.
    pub fn cpu_ticks(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(path).expect("it runs");
        let fields = stat.rsplit(')').next().expect("a name in parentheses");
        let times = fields.split_ascii_whitespace().skip(11).take(2);
        times.map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }

    /// Bytes that it has in memory: proc_pid_status(5), `VmRSS`.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_ascii_whitespace().next());
        kib.and_then(|kib| kib.parse::<u64>().ok()).expect("a number") << 10
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process");
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        until("the process ends", || self.child.try_wait().expect("a child"))
    }

    /// What it wrote to its standard error.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }
}

impl Drop for Penstock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the config of the process that is started in `folder`.
pub fn write_config(folder: &Folder, config: &str) {
    let socket = folder.join("admin.sock");
    let head = format!("[admin]\nlisten = \"unix:{}\"\n", socket.display());
    let runtime = match config.contains("[runtime]") {
        true => "",
        false => "[runtime]\nshards = 2\npin = false\n",
    };
    let text = format!("{head}{runtime}{config}");
    // As an editor does it: a reload never sees half a file.
    let (path, fresh) = (folder.join("penstock.toml"), folder.join("penstock.toml.new"));
    std::fs::write(&fresh, text).expect("written");
    std::fs::rename(fresh, path).expect("renamed");
}

/// Whether a program is installed; where it is not, says so, or fails if nothing may be skipped.
pub fn installed(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|f| Path::new(&f).join(program).exists())
    });
    if !found {
        assert!(std::env::var_os("PENSTOCK_TEST_ALL").is_none(), "{program} is not installed");
        // Not `eprintln!`: what that prints is shown of tests that failed, and of no others.
        let _ = writeln!(std::io::stderr(), "skipped: {program} is not installed");
    }
    found
}
