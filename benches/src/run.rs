//! One run: the origin and the proxies of a scenario, started once and measured in turns.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::idle_load::raise_file_limit;
use crate::peers::{Site, on_path};
use crate::process::Process;
use crate::{Absent, BenchError, FilterUnderTest, Peer, h2load};

/// What a run needs to know: programs, cores, length.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Our proxy, built for release.
    pub penstock: PathBuf,
    /// `bench-origin`, built for release.
    pub origin: PathBuf,
    /// Where configurations and logs of the run go; made if it is not there.
    pub folder: PathBuf,
    /// How often each proxy has its turn.
    pub rounds: usize,
    /// Length of one turn.
    pub seconds: u64,
    /// The core that proxies are pinned to.
    pub proxy_core: usize,
    /// The core of load generator and origin.
    pub load_core: usize,
    /// Idle connections per proxy in the idle scenario.
    pub idle_connections: usize,
    /// Requests per proxy in the soak.
    pub soak_requests: u64,
    /// The module of the filter scenario.
    pub filter: Option<FilterUnderTest>,
    /// What is spoken on both sides of the proxies; scenarios set it.
    pub spoken: Spoken,
    /// Bytes of the origin's answer; scenarios set it.
    pub body_bytes: usize,
    /// Header lines that the load generator adds, as `Name: value`.
    pub headers: Vec<String>,
}

/// What clients and the origin speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.1 on both sides.
    Http1,
    /// HTTP/1.1 under TLS to the proxies, without it to the origin.
    Tls,
    /// The same in TLS 1.2.
    Tls12,
    /// Bytes that proxies carry and don't look at.
    Tcp,
    /// Datagrams that proxies carry and don't look at.
    Udp,
    /// HTTP/2 to the proxies, HTTP/1.1 to the origin; both without TLS.
    Http2ToHttp1,
    /// HTTP/2 on both sides, without TLS.
    Http2,
    /// gRPC on both sides, without TLS.
    Grpc,
}

impl Spoken {
    /// Whether clients speak TLS to the proxies.
    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Spoken::Tls | Spoken::Tls12)
    }

    /// Whether clients speak HTTP/2 to the proxies.
    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Spoken::Http2ToHttp1 | Spoken::Http2 | Spoken::Grpc)
    }

    /// Whether the origin speaks HTTP/2.
    pub(crate) fn has_http2_origin(self) -> bool {
        matches!(self, Spoken::Http2 | Spoken::Grpc)
    }
}

/// How many cores there are for this process: counted before a scenario keeps its load on one.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// A running scenario: dropping it stops what it started.
pub struct Bench {
    pub(crate) plan: Plan,
    pub(crate) contestants: Vec<Contestant>,
    pub(crate) absent: Vec<Absent>,
    // Declared after the proxies, so that it outlives them.
    _origin: Process,
}

/// A proxy in a run.
pub(crate) struct Contestant {
    pub(crate) peer: Peer,
    pub(crate) version: String,
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
}

impl Bench {
    /// Starts the origin and those of `peers` that are installed, and waits until each answers.
    ///
    /// # Errors
    /// Where `wrk` is missing, a started proxy never answers, or nobody is left to measure.
    pub fn start(plan: Plan, peers: &[Peer]) -> Result<Self, BenchError> {
        let cores = cores();
        if cores < 2 {
            return Err(BenchError::TooFewCores { cores });
        }
        let load = match plan.spoken.is_http2() {
            true => ("h2load", "apt-get install nghttp2-client"),
            false => ("wrk", "apt-get install wrk"),
        };
        for (program, hint) in [load, ("taskset", "util-linux has it")] {
            on_path(program).ok_or(BenchError::Missing { program, hint })?;
        }
        raise_file_limit()?;
        let folder = plan.folder.clone();
        fs::create_dir_all(&folder).map_err(BenchError::io(folder.display().to_string()))?;
        if plan.spoken.is_tls() {
            let hint = "apt-get install openssl";
            on_path("openssl").ok_or(BenchError::Missing { program: "openssl", hint })?;
            make_certificate(&plan.penstock, &folder)?;
        }
        let origin_address = free_address().map_err(BenchError::io("looking for a port"))?;
        let protocol = match plan.spoken {
            Spoken::Udp => "udp",
            spoken if spoken.has_http2_origin() => "h2",
            _ => "http/1.1",
        };
        let mut origin = Process::start(
            plan.load_core,
            &plan.origin,
            &[origin_address.to_string(), plan.body_bytes.to_string(), protocol.to_owned()],
            folder.join("origin.log"),
        )?;
        let name = "bench-origin";
        match plan.spoken {
            Spoken::Udp => wait_until_echoing(name, &mut origin, origin_address)?,
            spoken if spoken.has_http2_origin() => {
                wait_until_streaming(name, &mut origin, origin_address, &plan)?
            }
            _ => wait_until_answering(name, &mut origin, origin_address, &plan.headers)?,
        };
        let mut bench =
            Bench { plan, contestants: Vec::new(), absent: Vec::new(), _origin: origin };
        for &peer in peers {
            let found = peer.carries(bench.plan.spoken);
            match found.and_then(|()| peer.find(&bench.plan.penstock)) {
                Ok(program) => {
                    let contestant = bench.enter(peer, program, &folder, origin_address)?;
                    bench.contestants.push(contestant);
                }
                Err(absent) => bench.absent.push(absent),
            }
        }
        match bench.contestants.is_empty() {
            true => Err(BenchError::NobodyToMeasure),
            false => Ok(bench),
        }
    }

    fn enter(
        &self,
        peer: Peer,
        program: PathBuf,
        folder: &Path,
        origin: SocketAddr,
    ) -> Result<Contestant, BenchError> {
        let version = peer.version(&program);
        let listen = free_address().map_err(BenchError::io("looking for a port"))?;
        let spoken = self.plan.spoken;
        let (filter, connections) = (self.plan.filter.as_ref(), self.plan.idle_connections);
        let site = Site { listen, origin, folder, filter, spoken, connections };
        let invocation = peer.configure(program, &site)?;
        let log = folder.join(format!("{}.log", peer.name().replace([' ', ',', '+'], "-")));
        let mut process =
            Process::start(self.plan.proxy_core, &invocation.program, &invocation.arguments, log)?;
        let (name, headers) = (peer.name(), &self.plan.headers);
        let head = match spoken {
            Spoken::Tls | Spoken::Tls12 => wait_until_shaking(name, &mut process, listen)?,
            Spoken::Udp => wait_until_echoing(name, &mut process, listen)?,
            Spoken::Http1 | Spoken::Tcp => {
                wait_until_answering(name, &mut process, listen, headers)?
            }
            _ => wait_until_streaming(name, &mut process, listen, &self.plan)?,
        };
        if let Some(filter) = self.plan.filter.as_ref().filter(|_| peer.has_filter())
            && !head.to_ascii_lowercase().contains(&filter.proof)
        {
            let (name, proof) = (peer.name().to_owned(), filter.proof.clone());
            return Err(BenchError::NoFilter { name, proof, head });
        }
        Ok(Contestant { peer, version, address: listen, process })
    }
}

impl Contestant {
    /// An error when the process is gone.
    pub(crate) fn still_there(&mut self) -> Result<(), BenchError> {
        match self.process.ended() {
            None => Ok(()),
            Some(_) => Err(BenchError::Died {
                name: self.peer.name().to_owned(),
                log: self.process.log().to_owned(),
            }),
        }
    }
}

/// A loopback address whose port was free a moment ago.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// Asks until there is a 200, and gives its head.
fn wait_until_answering(
    name: &str,
    process: &mut Process,
    address: SocketAddr,
    headers: &[String],
) -> Result<String, BenchError> {
    wait_until(name, process, || {
        Ok(ask(address, headers).ok().filter(|head| head.starts_with("HTTP/1.1 200")))
    })
}

/// Sends a datagram until it comes back.
fn wait_until_echoing(
    name: &str,
    process: &mut Process,
    address: SocketAddr,
) -> Result<String, BenchError> {
    let ask = || -> io::Result<()> {
        let socket = UdpSocket::bind((address.ip(), 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.connect(address)?;
        socket.send(b"?")?;
        socket.recv(&mut [0]).map(drop)
    };
    wait_until(name, process, || Ok(ask().ok().map(|()| String::new())))
}

/// Sends one request over HTTP/2 until it is answered; what `h2load` says of it is the head.
fn wait_until_streaming(
    name: &str,
    process: &mut Process,
    address: SocketAddr,
    plan: &Plan,
) -> Result<String, BenchError> {
    wait_until(name, process, || h2load::probe(plan, address))
}

/// Shakes hands until it works. What `openssl` says of it stands in for an answer's head.
fn wait_until_shaking(
    name: &str,
    process: &mut Process,
    address: SocketAddr,
) -> Result<String, BenchError> {
    wait_until(name, process, || {
        let output = Command::new("openssl")
            .args(["s_client", "-brief", "-connect", &address.to_string()])
            .stdin(Stdio::null())
            .output()
            .map_err(BenchError::io("running openssl"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(output.status.success().then_some(said))
    })
}

/// Tries until something comes of it, the process has ended, or it has taken too long.
fn wait_until<T>(
    name: &str,
    process: &mut Process,
    attempt: impl Fn() -> Result<Option<T>, BenchError>,
) -> Result<T, BenchError> {
    let deadline = Instant::now() + START_TIME_MAX;
    while Instant::now() < deadline && process.ended().is_none() {
        match attempt()? {
            Some(done) => return Ok(done),
            None => thread::sleep(Duration::from_millis(20)),
        }
    }
    Err(BenchError::NotReady {
        name: name.to_owned(),
        seconds: START_TIME_MAX.as_secs(),
        output: fs::read_to_string(process.log()).unwrap_or_default(),
    })
}

/// A certificate for all proxies, and both halves in one file, as HAProxy wants it.
fn make_certificate(penstock: &Path, folder: &Path) -> Result<(), BenchError> {
    let what = || BenchError::io("making a certificate");
    let paths = ["ca.pem", "cert.pem", "key.pem", "both.pem"].map(|name| folder.join(name));
    paths.iter().for_each(|path| drop(fs::remove_file(path)));
    let made = Command::new(penstock)
        .args(["cert", "dev", "bench", "127.0.0.1", "--dir"])
        .arg(folder)
        .output()
        .map_err(what())?;
    if !made.status.success() {
        let errors = String::from_utf8_lossy(&made.stderr).into_owned();
        return Err(what()(io::Error::other(errors)));
    }
    let [_, cert, key, both] = &paths;
    let text = [fs::read(cert).map_err(what())?, fs::read(key).map_err(what())?].concat();
    fs::write(both, text).map_err(what())
}

/// The head of the answer to one GET, which fits one buffer.
fn ask(address: SocketAddr, headers: &[String]) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!("GET / HTTP/1.1\r\nHost: bench\r\n{headers}\r\n");
    stream.write_all(request.as_bytes())?;
    let mut input = [0; 4096];
    let mut filled = 0;
    loop {
        if let Some(end) = input[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(String::from_utf8_lossy(&input[..end]).into_owned());
        }
        match stream.read(&mut input[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => filled += bytes,
        }
    }
}

/// The request on connections that then stay idle.
pub(crate) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";

/// Envoy with a WASM module to compile takes some seconds on a slow machine.
const START_TIME_MAX: Duration = Duration::from_secs(20);
