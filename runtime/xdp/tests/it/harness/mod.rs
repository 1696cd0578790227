//! What the tests stand on: a BPF file system of their own, namespaces, children that end.

mod net;
pub mod peers;
pub mod site;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use penstock_l4::testing::World;
use penstock_l4::{Cause, Subject};
use penstock_xdp::{Datapath, Fill, Options, Sizes, XdpError};

pub use net::Net;

/// Whether the tests of this crate can run here.
pub fn kernel_is_there() -> bool {
    let root = rustix::process::geteuid().is_root();
    let there = root && has("ip") && BpfFolder::try_new().is_some();
    if !there {
        assert!(std::env::var_os("PENSTOCK_TEST_ALL").is_none(), "no root, no ip or no BPF here");
        say_skipped("needs root, iproute2 and a kernel with BPF");
    }
    there
}

/// Whether there can be TUN devices in namespaces joined by veth pairs, whatever BPF can.
pub fn can_tunnel() -> bool {
    let root = rustix::process::geteuid().is_root();
    let there = root && has("ip") && has("ethtool") && Path::new("/dev/net/tun").exists();
    if !there {
        assert!(std::env::var_os("PENSTOCK_TEST_ALL").is_none(), "no root, no ip or no TUN here");
        say_skipped("needs root, iproute2, ethtool and TUN devices");
    }
    there
}

/// Whether there can be namespaces joined by veth pairs, besides.
pub fn can_wire() -> bool {
    kernel_is_there() && {
        let there = has("ethtool");
        assert!(there || std::env::var_os("PENSTOCK_TEST_ALL").is_none(), "ethtool is missing");
        if !there {
            say_skipped("needs ethtool");
        }
        there
    }
}

/// Says why tests did not run. Not `println!`: what that prints is shown of tests that failed, and
/// of no others.
fn say_skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Whether a program is installed.
fn has(program: &str) -> bool {
    let mut which = Command::new("sh");
    which.args(["-c", &format!("command -v {program}")]).stdout(Stdio::null());
    which.status().is_ok_and(|status| status.success())
}

/// Runs a command that has to succeed, given as words.
#[track_caller]
pub fn run(words: &str) {
    let mut parts = words.split_whitespace();
    let program = parts.next().expect("a command has a first word");
    let output = Command::new(program).args(parts).output().expect("a program is there");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}: {error}");
}

/// A BPF file system of one test, unmounted at its end.
pub struct BpfFolder {
    path: PathBuf,
}

impl BpfFolder {
    pub fn new() -> Self {
        Self::try_new().expect("kernel_is_there has tried it")
    }

    fn try_new() -> Option<Self> {
        let path = std::env::temp_dir().join(format!("penstock-bpf-{}", unique()));
        std::fs::create_dir_all(&path).ok()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "bpf", "bpf"]).arg(&path).stderr(Stdio::null());
        let mounted = mount.status().is_ok_and(|status| status.success());
        let folder = BpfFolder { path };
        mounted.then_some(folder)
    }

    /// Small maps, pinned here.
    pub fn options(&self) -> Options {
        options(self.path.join("penstock"))
    }
}

impl Drop for BpfFolder {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        // Not mounted when there is no BPF; then only the folder has to go.
        let _ = umount.arg("-l").arg(&self.path).stderr(Stdio::null()).status();
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// Small maps, pinned at `root`.
pub fn options(root: PathBuf) -> Options {
    Options { root, instance: "test".into(), sizes: sizes(), processors: Vec::new() }
}

/// Small tables.
pub fn sizes() -> Sizes {
    let sizes = Sizes { maglevs_max: 4, vips_max: 64, backends_max: 64, ..Sizes::default() };
    Sizes { proven_flows_max: 131_072, ..sizes }
}

/// Writes a world into tables.
pub fn fill(world: &World, tables: &mut dyn Fill) -> Result<(), XdpError> {
    tables.set_settings(&world.settings)?;
    for (maglev, slots) in (0..).zip(&world.maglevs) {
        tables.set_maglev(maglev, slots)?;
    }
    for (index, backend) in &world.backends {
        tables.set_backend(*index, Some(backend))?;
    }
    for (address, bits, rule) in &world.sources {
        tables.set_source(address, *bits, Some(rule))?;
    }
    for (number, vip) in &world.vips {
        tables.set_vip(*number, vip)?;
    }
    for (key, number) in &world.services {
        tables.set_service(key, Some(*number))?;
    }
    Ok(())
}

/// What became of packets so far, for the message of a test that fails.
pub fn counted(datapath: &Datapath) -> String {
    let mut text = String::new();
    let subjects = (0..8).map(Subject::Vip).chain((0..8).map(Subject::Backend));
    for subject in subjects {
        let Ok(Some(counters)) = datapath.counters(subject) else { continue };
        let (to, from) = (counters.packets, counters.return_packets);
        let causes = Cause::ALL.iter().zip(counters.causes).filter(|(_, count)| *count > 0);
        let causes: Vec<_> =
            causes.map(|(cause, count)| format!("{} {count}", cause.name())).collect();
        if to + from > 0 || !causes.is_empty() {
            text += &format!("{subject:?}: {to} there, {from} back, {}; ", causes.join(", "));
        }
    }
    text
}

/// Differs for each call of each process.
pub fn unique() -> String {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed))
}
