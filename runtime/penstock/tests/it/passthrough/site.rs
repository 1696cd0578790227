//! A site: client, router, appliances, three backends; and what is asked of it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::ground::{BpfFolder, Net, can_wire};
use crate::harness::{Folder, Penstock, installed, until, write_config};

/// The VIPs, as they stand in URLs.
pub const VIPS: [&str; 2] = ["10.9.0.10", "[fd00:9::a]"];
pub const BACKENDS: [&str; 3] = ["b0", "b1", "b2"];
/// Where backends are: 10.5.0.2 and fd00:5::2 is the first.
const FIRST_BACKEND: usize = 5;
/// Bytes of the file `/large`.
pub const LARGE: usize = 20_000_000;

/// Namespaces, servers in them, and the maps of the appliances.
pub struct Site {
    servers: Vec<Child>,
    pub net: Net,
    bpf: BpfFolder,
    _folder: Folder,
}

/// Whether there can be one.
pub fn can_be() -> bool {
    can_wire() && installed("nginx") && installed("curl")
}

impl Site {
    /// One with so many appliances, `lb0` and on, at 10.2.0.2 and on. The router spreads flows to
    /// VIPs over all of them.
    pub fn new(appliances: usize) -> Site {
        let lbs: Vec<String> = (0..appliances).map(|number| format!("lb{number}")).collect();
        let mut names = vec!["client", "router"];
        names.extend(lbs.iter().map(String::as_str));
        names.extend(BACKENDS);
        let net = Net::new(&names);
        for name in &names {
            for parameter in ["all", "default"] {
                net.set(name, &format!("net/ipv4/conf/{parameter}/rp_filter"), "0");
            }
            // A flow whose packets are late goes on by the same way.
            net.set(name, "net/core/txrehash", "0");
        }
        for family in ["ipv4", "ipv6"] {
            net.set("router", &format!("net/{family}/fib_multipath_hash_policy"), "1");
        }
        net.set("router", "net/ipv4/ip_forward", "1");
        net.set("router", "net/ipv6/conf/all/forwarding", "1");
        let mut legs = vec![("client", 1)];
        legs.extend(lbs.iter().map(String::as_str).zip(2..));
        legs.extend(BACKENDS.into_iter().zip(FIRST_BACKEND..));
        for (name, leg) in legs {
            lead(&net, name, leg);
        }
        spread(&net, appliances);
        let (bpf, folder) = (BpfFolder::new(), Folder::new());
        std::fs::write(folder.join("large"), vec![b'x'; LARGE]).expect("written");
        let mut site = Site { servers: Vec::new(), net, bpf, _folder: folder };
        for name in BACKENDS {
            site.serve(name);
        }
        site
    }

    /// Connects the only appliance, which has lost its interface, again.
    pub fn connect_again(&self) {
        lead(&self.net, "lb0", 2);
        spread(&self.net, 1);
    }

    /// nginx, on port 80 for `dsr` and on 8080 for `nat`.
    fn serve(&mut self, name: &str) {
        let folder = self._folder.join(name);
        std::fs::create_dir(&folder).expect("a folder");
        let (root, config) = (folder.display().to_string(), folder.join("nginx.conf"));
        let text = format!(
            "daemon off; master_process off; pid {root}/pid; error_log {root}/errors;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/p;\n\
             fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
             client_max_body_size 0; sendfile on; send_timeout 10m; keepalive_timeout 10m;\n\
             keepalive_requests 1000000;\n\
             server {{ listen 127.0.0.1:81; return 200 \"$http_content_length\\n\"; }}\n\
             server {{ listen 80; listen [::]:80; listen 8080; listen [::]:8080;\n\
             root {root}/..; location /who {{ return 200 \"{name} $remote_addr\\n\"; }}\n\
             location /up {{ proxy_pass http://127.0.0.1:81; }} }} }}\n",
        );
        std::fs::write(&config, text).expect("written");
        self.start_again(name);
    }

    /// Starts a backend's nginx, which was never started or was stopped.
    pub fn start_again(&mut self, name: &str) {
        let folder = self._folder.join(name);
        let config = folder.join("nginx.conf");
        let mut command = self.net.program(name, "nginx");
        command.arg("-e").arg(folder.join("errors")).arg("-c").arg(config);
        self.begin(command);
        until("nginx listens", || {
            let connect = || std::net::TcpStream::connect("127.0.0.1:8080").is_ok();
            self.net.inside(name, connect).then_some(())
        });
    }

    /// Stops the nginx that a backend began with.
    pub fn stop(&mut self, name: &str) {
        let place = BACKENDS.iter().position(|one| *one == name).expect("a backend");
        let nginx = &mut self.servers[place];
        nginx.kill().and_then(|()| nginx.wait().map(drop)).expect("it runs");
    }

    /// Starts a server, which ends with the site; gives its number of process.
    pub fn begin(&mut self, mut command: Command) -> u32 {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = command.spawn().expect("it starts");
        let number = server.id();
        self.servers.push(server);
        number
    }

    /// A file or folder that goes with the site.
    pub fn path(&self, name: &str) -> PathBuf {
        self._folder.join(name)
    }

    /// Has backends take packets of appliances out of their encapsulation.
    pub fn decapsulate(&mut self) {
        for name in BACKENDS {
            self.net.ip(name, "address add 10.9.0.10/32 dev lo");
            self.net.ip(name, "address add fd00:9::a/128 dev lo nodad");
            let mut command = self.net.program(name, env!("CARGO_BIN_EXE_penstock"));
            command.arg("decap").arg("--every").arg("200ms");
            command.arg("--metrics").arg(self._folder.join(&format!("{name}.prom")));
            for leg in 2..FIRST_BACKEND {
                command.args(["--from", &format!("10.{leg}.0.2")]);
            }
            self.begin(command);
            let net = &self.net;
            until("packets are taken out", || {
                let links = net.program(name, "ip").args(["link", "show", "penstock0"]).output();
                links.expect("ip runs").status.success().then_some(())
            });
        }
    }

    /// The config of an appliance: the service `s` on both VIPs, in this mode, over these backends.
    pub fn config(&self, lb: &str, mode: &str, backends: &[&str], more: &str) -> String {
        let number = |name: &str| FIRST_BACKEND + name[1..].parse::<usize>().expect("a number");
        let endpoints = backends.iter().flat_map(|name| match mode {
            "dsr" => vec![format!("\"10.{}.0.2\"", number(name))],
            _ => vec![
                format!("\"10.{}.0.2:8080\"", number(name)),
                format!("\"[fd00:{}::2]:8080\"", number(name)),
            ],
        });
        let endpoints: Vec<String> = endpoints.collect();
        let runtime = "[runtime]\nshards = 1\npin = false\nreceive_buffers = 64\n";
        format!(
            "{runtime}{}[service.s]\nvip = [\"10.9.0.10\", \"fd00:9::a\"]\n\
             ports = [\"tcp/80\", \"udp/53\"]\nmode = \"{mode}\"\ninterface = \"eth0\"\n\
             to = \"c\"\n\
             {more}\n[cluster.c]\nendpoints = [{}]\n",
            self.layer4(lb),
            endpoints.join(", ")
        )
    }

    /// Where an appliance pins its maps, and that they are small.
    pub fn layer4(&self, lb: &str) -> String {
        let pins = self.pins();
        format!("[runtime.layer4]\npins = \"{pins}\"\ninstance = \"{lb}\"\nflows = 16384\n")
    }

    pub fn pins(&self) -> String {
        self.bpf.options().root.display().to_string()
    }

    /// Starts an appliance.
    pub fn start(&self, lb: &str, config: &str) -> Penstock {
        self.start_in(lb, Folder::new(), config)
    }

    /// The same in a folder that is there already.
    pub fn start_in(&self, lb: &str, folder: Folder, config: &str) -> Penstock {
        write_config(&folder, config);
        Penstock::start_by(self.net.program(lb, env!("CARGO_BIN_EXE_penstock")), folder)
    }

    /// Runs curl on the client, which has to succeed.
    #[track_caller]
    pub fn curl(&self, arguments: &[&str]) -> String {
        let output = self.curl_command(arguments).output().expect("curl runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "curl {arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn curl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.net.program("client", "curl");
        command.args(["-gsS", "--max-time", "300"]).args(arguments).stdin(Stdio::null());
        command
    }

    /// Has TCP send again what is lost only after 20 s: what a busy machine is late with is not
    /// taken for lost.
    pub fn send_again_late(&self) {
        let backends = BACKENDS.into_iter().zip(FIRST_BACKEND..);
        for (name, leg) in [("client", 1)].into_iter().chain(backends) {
            self.net.set(name, "net/ipv4/tcp_early_retrans", "0");
            self.net.ip(name, &format!("route change default via 10.{leg}.0.1 rto_min 20s"));
            self.net.ip(name, &format!("-6 route change default via fd00:{leg}::1 rto_min 20s"));
        }
    }

    /// How many segments were sent again on the connections that are open, by either end.
    pub fn sent_again(&self) -> u64 {
        let ends = std::iter::once("client").chain(BACKENDS).map(|name| {
            let mut command = self.net.program(name, "ss");
            let output = command.args(["-Htin", "state", "established"]).output();
            let text = String::from_utf8(output.expect("ss runs").stdout);
            let text = text.expect("it is ASCII");
            assert!(name != "client" || text.contains("cwnd:"), "no connection: {text}");
            // As in `retrans:0/3`: of now, and of all.
            let counts = text.split(" retrans:").skip(1);
            let counts = counts.filter_map(|one| one.split(['/', ' ']).nth(1)?.parse::<u64>().ok());
            counts.sum::<u64>()
        });
        ends.sum()
    }

    /// The program on an interface of a namespace, by its number.
    pub fn attached(&self, name: &str) -> Option<String> {
        let output = self.net.program(name, "ip").args(["link", "show", "eth0"]).output();
        let text = String::from_utf8_lossy(&output.expect("ip runs").stdout).into_owned();
        text.split("prog/xdp id ").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Connects a machine to the router.
fn lead(net: &Net, name: &str, leg: usize) {
    let near = format!("10.{leg}.0.2/24,fd00:{leg}::2/64");
    let router = format!("10.{leg}.0.1/24,fd00:{leg}::1/64");
    net.pair((name, "eth0", &near), ("router", &format!("to-{name}"), &router));
    net.ip(name, &format!("route add default via 10.{leg}.0.1"));
    net.ip(name, &format!("-6 route add default via fd00:{leg}::1"));
}

/// Has the router spread flows to VIPs over so many appliances.
fn spread(net: &Net, appliances: usize) {
    let hops = |family: &dyn Fn(usize) -> String| -> String {
        (2..2 + appliances).map(|leg| format!("nexthop via {} ", family(leg))).collect()
    };
    let (v4, v6) = (hops(&|leg| format!("10.{leg}.0.2")), hops(&|leg| format!("fd00:{leg}::2")));
    net.ip("router", &format!("route replace 10.9.0.0/24 {v4}"));
    net.ip("router", &format!("-6 route replace fd00:9::/64 {v6}"));
}
