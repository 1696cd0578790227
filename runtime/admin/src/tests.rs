//! The API over a socket, with a control side whose shards are none.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use penstock_control::{
    Boot, Control, ControlThread, Ended, Listening, LogCounts, NoDatapaths, Prepared, ShardCounts,
    Shards, ShardsError, Source,
};
use penstock_proxy::{Capacity, Snapshot};

use crate::guests::CONNECTIONS_MAX;
use crate::{AdminError, LogLevel, Server};

struct NoShards(bool);

struct Nothing;

impl Prepared for Nothing {
    fn commit(self: Box<Self>) {}
}

impl Shards for NoShards {
    fn count(&self) -> usize {
        1
    }

    fn prepare<'a>(
        &'a mut self,
        _next: &Arc<Snapshot>,
    ) -> Result<Box<dyn Prepared + 'a>, ShardsError> {
        Ok(Box::new(Nothing))
    }

    fn drain(&mut self, _longest: Duration) {
        self.0 = true;
    }

    fn ended(&mut self) -> Vec<Ended> {
        let ended = std::mem::take(&mut self.0).then_some(Ended { index: 0, error: None });
        ended.into_iter().collect()
    }

    fn restart(&mut self, _index: usize, _current: &Arc<Snapshot>) -> Result<(), ShardsError> {
        Ok(())
    }

    fn counts(&self, _index: usize) -> ShardCounts {
        ShardCounts::default()
    }

    fn listening(&self) -> Vec<Listening> {
        Vec::new()
    }

    fn reopen_log(&mut self) {}

    fn events_lost(&self) -> u64 {
        0
    }

    fn give_memory_back(&mut self) {}

    fn log_counts(&self) -> Option<LogCounts> {
        None
    }
}

struct FixedLevel;

impl LogLevel for FixedLevel {
    fn show(&self) -> String {
        "info".to_owned()
    }

    fn set(&self, filter: &str) -> Result<(), String> {
        if filter == "info" { Ok(()) } else { Err("no such level".to_owned()) }
    }
}

/// An API on a socket in a folder of its own.
struct Api {
    folder: PathBuf,
    socket: PathBuf,
    config: PathBuf,
    /// As the server says it.
    address: String,
    thread: Option<ControlThread>,
}

impl Api {
    fn start(name: &str) -> Api {
        let folder = std::env::temp_dir().join(format!("penstock-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (socket, config) = (folder.join("admin.sock"), folder.join("penstock.toml"));
        let listen = format!("listen = \"unix:{}\"", socket.display());
        std::fs::write(&config, text(&listen, 9001)).expect("a config");
        let api = Api::serve(folder, socket, config);
        let again = Server::bind(&api.boot().config().admin, &api.boot().files());
        assert!(matches!(again, Err(AdminError::Taken { .. })), "one process for one socket");
        api
    }

    fn boot(&self) -> Boot {
        Boot::read(Source::new(&self.config)).expect("a right config")
    }

    fn serve(folder: PathBuf, socket: PathBuf, config: PathBuf) -> Api {
        let boot = Boot::read(Source::new(&config)).expect("a right config");
        let server = Server::bind(&boot.config().admin, &boot.files()).expect("bound");
        let address = server.address().to_owned();
        let control = boot
            .start(Capacity::new(1_000, 7), Box::new(NoDatapaths), |_, _, _| Ok(NoShards(false)));
        let control = control.expect("started");
        let companion: penstock_control::Companion =
            Box::new(|handle| Box::pin(server.serve(handle, Arc::new(FixedLevel))));
        let thread = ControlThread::start(control, vec![companion]).expect("a thread");
        Api { folder, socket, config, address, thread: Some(thread) }
    }

    fn ask(&self, method: &str, path: &str, fields: &str, body: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    #[track_caller]
    fn check(&self, ask: (&str, &str, &str, &str), status: u16, part: &str) -> String {
        let answer = self.ask(ask.0, ask.1, ask.2, ask.3);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{ask:?}: {answer}");
        assert!(answer.contains(part), "{ask:?}: {answer}");
        answer
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.handle().ask_blocking(Control::drain);
            let _ = thread.join();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn text(admin: &str, port: u16) -> String {
    format!(
        "[runtime]\nshards = 1\n\
         [admin]\n{admin}\n\
         [listener.web]\naddress = \":8080\"\nto = \"app\"\n\
         [cluster.app]\nendpoints = [\"127.0.0.1:{port}\"]\n"
    )
}

#[test]
fn every_path_answers_and_errors_are_problem_documents() {
    let api = Api::start("paths");
    let mode = std::os::unix::fs::MetadataExt::mode(&api.socket.metadata().expect("a socket"));
    assert_eq!(mode & 0o777, 0o660);
    api.check(("GET", "/", "", ""), 200, "content-security-policy: default-src 'none'");
    api.check(("GET", "/live", "", ""), 200, "true");
    api.check(("GET", "/ready", "", ""), 200, "true");
    api.check(("GET", "/metrics", "", ""), 200, "penstock_config_generation 1");
    api.check(("GET", "/v1/status", "", ""), 200, "\"state\":\"serving\"");
    api.check(("GET", "/v1/clusters", "", ""), 200, "127.0.0.1:9001");
    api.check(("GET", "/v1/clusters/app", "", ""), 200, "127.0.0.1:9001");
    api.check(("GET", "/v1/listeners", "", ""), 200, "\"name\":\"web\"");
    api.check(("GET", "/v1/services", "", ""), 200, "[]");
    api.check(("GET", "/v1/fleet", "", ""), 200, "\"bgp\":null");
    api.check(("GET", "/v1/filters", "", ""), 200, "[]");
    api.check(("GET", "/v1/log-level", "", ""), 200, "info");
    api.check(("GET", "/v1/config", "", ""), 200, "etag: \"");
    let problem = "application/problem+json";
    api.check(("GET", "/v1/clusters/none", "", ""), 404, problem);
    api.check(("GET", "/nowhere", "", ""), 404, problem);
    api.check(("DELETE", "/v1/status", "", ""), 405, problem);
    let json = "Content-Type: application/json\r\n";
    api.check(("PUT", "/v1/log-level", json, "{\"filter\":\"x=\"}"), 422, problem);
    api.check(("PUT", "/v1/log-level", json, "{\"filter\":\"info\"}"), 200, "info");
    api.check(("PUT", "/v1/log-level", json, "{\"filter\":5}"), 422, problem);
    api.check(("PUT", "/v1/log-level", "", "{}"), 415, problem);
}

#[test]
fn a_config_is_put_only_over_the_one_that_was_seen() {
    let api = Api::start("config");
    let shown = api.ask("GET", "/v1/config", "", "");
    let tag = shown.split("etag: ").nth(1).and_then(|rest| rest.lines().next()).expect("a tag");
    let listen = format!("listen = \"unix:{}\"", api.socket.display());
    let (next, condition) = (text(&listen, 9002), format!("If-Match: {tag}\r\n"));
    api.check(("PUT", "/v1/config", "", &next), 428, "If-Match");
    api.check(("PUT", "/v1/config", "If-Match: \"x\"\r\n", &next), 412, "in force");
    api.check(("PUT", "/v1/config", &condition, "[listener.x]\n"), 422, "\"findings\":");
    api.check(("PUT", "/v1/config", &condition, &next), 200, "cluster.app.endpoints");
    api.check(("PUT", "/v1/config", &condition, &next), 412, "in force");
    api.check(("GET", "/v1/status", "", ""), 200, "\"origin\":\"api\"");
    api.check(("POST", "/v1/config/check", "", &next), 200, "\"findings\":[]");
    api.check(("POST", "/v1/config/check", "", "x"), 422, "\"findings\":");
    // A reload goes back to the file.
    api.check(("POST", "/v1/reload", "", ""), 200, "\"generation\":3");
    api.check(("GET", "/v1/clusters", "", ""), 200, "127.0.0.1:9001");
    std::fs::write(&api.config, "[").expect("write");
    api.check(("POST", "/v1/reload", "", ""), 422, "\"findings\":");
    api.check(("GET", "/v1/status", "", ""), 200, "\"refused\":4");
}

#[test]
fn a_socket_whose_file_was_removed_comes_back() {
    let api = Api::start("removed");
    std::fs::remove_file(&api.socket).expect("it is there");
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while UnixStream::connect(&api.socket).is_err() {
        assert!(std::time::Instant::now() < deadline, "nobody listens again");
        std::thread::sleep(Duration::from_millis(20));
    }
    api.check(("GET", "/live", "", ""), 200, "true");
}

#[test]
fn who_shows_no_token_keeps_nobody_out() {
    let folder = std::env::temp_dir().join(format!("penstock-token-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (token, config) = (folder.join("token"), folder.join("penstock.toml"));
    std::fs::write(&token, "secret\n").expect("a token");
    let admin = format!("listen = \"127.0.0.1:0\"\ntoken_file = \"{}\"", token.display());
    std::fs::write(&config, text(&admin, 9001)).expect("a config");
    let api = Api::serve(folder.clone(), folder.join("none"), config);
    let address = api.address.strip_prefix("http://").expect("TCP").to_owned();
    let connect = || {
        let stream = std::net::TcpStream::connect(&address).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
        stream
    };
    // As many as there are places: each asks for the page, again and again, and reads nothing.
    let strangers: Vec<_> = (0..CONNECTIONS_MAX)
        .map(|_| {
            let mut stream = connect();
            stream.set_nonblocking(true).expect("an option");
            let ask = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(64);
            while stream.write_all(ask.as_bytes()).is_ok() {}
            stream
        })
        .collect();
    let mut stream = connect();
    write!(
        stream,
        "GET /v1/status HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer secret\r\n\r\n"
    )
    .expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    drop(strangers);
}
