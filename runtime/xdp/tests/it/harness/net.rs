//! Namespaces joined by veth pairs, and programs in them. All is gone when the net is dropped.

use std::fs::File;
use std::process::Command;
use std::thread::JoinHandle;

use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{run, unique};

/// Namespaces of one test, by short names.
pub struct Net {
    prefix: String,
    names: Vec<String>,
}

impl Net {
    /// One namespace for each name, with its loopback up.
    pub fn new(names: &[&str]) -> Self {
        let mut net = Net { prefix: format!("pst{}", unique()), names: Vec::new() };
        for name in names {
            let full = net.full(name);
            run(&format!("ip netns add {full}"));
            net.names.push(full);
            net.ip(name, "link set lo up");
            // Link-local addresses are there at once, or nobody asks for a neighbour with them:
            // packets that come in their first second or two are sent again.
            net.set(name, "net/ipv6/conf/default/accept_dad", "0");
        }
        net
    }

    fn full(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Runs `ip` in a namespace.
    #[track_caller]
    pub fn ip(&self, name: &str, words: &str) {
        run(&format!("ip -n {} {words}", self.full(name)));
    }

    /// Runs a command in a namespace.
    #[track_caller]
    pub fn run(&self, name: &str, words: &str) {
        let (program, rest) = words.split_once(' ').unwrap_or((words, ""));
        let output = self.program(name, program).args(rest.split_whitespace()).output();
        let output = output.expect("nsenter is there");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {words}: {error}");
    }

    /// A program in a namespace, yet to be given its arguments.
    pub fn program(&self, name: &str, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.full(name))).arg("--").arg(program);
        command
    }

    /// Sets a system parameter by its path below `/proc/sys`.
    #[track_caller]
    pub fn set(&self, name: &str, parameter: &str, value: &str) {
        let (path, value) = (format!("/proc/sys/{parameter}"), value.to_owned());
        self.inside(name, move || std::fs::write(&path, value).expect("root may set it"));
    }

    /// A veth pair `left.0` in namespace `left.1` and so on, up and addressed (`addr/len`, commas
    /// between). Checksums are whole (no offload), and each end takes frames redirected to it.
    #[track_caller]
    pub fn pair(&self, left: (&str, &str, &str), right: (&str, &str, &str)) {
        let ((left_ns, left_name, _), (right_ns, right_name, _)) = (left, right);
        let (left_full, right_full) = (self.full(left_ns), self.full(right_ns));
        run(&format!(
            "ip link add {left_name} netns {left_full} type veth \
             peer {right_name} netns {right_full}"
        ));
        for (namespace, device, addresses) in [left, right] {
            for address in addresses.split(',') {
                let flags = if address.contains(':') { "nodad" } else { "" };
                self.ip(namespace, &format!("address add {address} dev {device} {flags}"));
            }
            // A frame that is redirected out of a veth is taken by its peer only when that one
            // polls, which it does with GRO. The veth hears of it only when its peer is up.
            self.ip(namespace, &format!("link set {device} up"));
            self.run(namespace, &format!("ethtool -K {device} tx off gro on"));
        }
    }

    /// Does something in a namespace, on a thread of its own, and waits for it.
    pub fn inside<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let thread = self.begin(name, work);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Begins something in a namespace.
    pub fn begin<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let path = format!("/run/netns/{}", self.full(name));
        std::thread::spawn(move || {
            let namespace = File::open(path).expect("the namespace was made");
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind).expect("root may enter it");
            work()
        })
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in &self.names {
            // What is gone already is all right.
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}
