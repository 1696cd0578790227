//! `penstock decap` and `penstock l4`: layer 4 where no config is read.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use clap::{Args, Subcommand};
use penstock_xdp::{Decap as Decapsulation, DecapCounts};

use crate::Failed;
use crate::arguments::duration;

#[derive(Args)]
pub(crate) struct Decap {
    /// An appliance: its `tunnel` address, which packets come from. As often as there are some.
    #[arg(long, required = true, value_name = "ADDRESS")]
    from: Vec<IpAddr>,
    /// The TUN device that packets come out of.
    #[arg(long, default_value = "penstock0", value_name = "NAME")]
    device: String,
    /// A file for counts in Prometheus' format, as node_exporter's textfile collector reads it.
    #[arg(long, value_name = "PATH")]
    metrics: Option<PathBuf>,
    /// How often counts are written, and what was refused is said.
    #[arg(long, value_parser = duration, default_value = "15s", value_name = "TIME")]
    every: Duration,
}

/// The register of verbs under `l4`.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Take the XDP program off all interfaces and forget all flows.
    Detach(Detach),
}

#[derive(Args)]
pub(crate) struct Detach {
    /// The folder that the program and its maps are pinned in.
    #[arg(long, default_value = "/sys/fs/bpf/penstock", value_name = "PATH")]
    pins: PathBuf,
    /// Which appliance of this machine.
    #[arg(long, default_value = "main", value_name = "NAME")]
    instance: String,
}

/// Serves until it is killed; with the process the device goes.
pub(crate) fn decap(arguments: &Decap) -> Result<(), Failed> {
    let mut decap = Decapsulation::open(&arguments.device, &arguments.from)?;
    println!("taking packets out of their encapsulation, onto {}", arguments.device);
    let (mut refused, mut unwritten) = (0, false);
    let mut tell = |counts: &DecapCounts| {
        let now = counts.strangers + counts.malformed + counts.lost;
        if now > refused {
            let DecapCounts { strangers, malformed, lost, .. } = counts;
            println!("so far {strangers} of strangers, {malformed} malformed, {lost} lost");
        }
        refused = now;
        let Some(path) = &arguments.metrics else { return };
        let written = write_whole(path, &metrics(counts));
        if let (Err(error), false) = (&written, unwritten) {
            println!("{}: {error}", path.display());
        }
        unwritten = written.is_err();
    };
    match decap.run(arguments.every, &mut tell)? {}
}

/// In Prometheus' format, for node_exporter's textfile collector.
fn metrics(counts: &DecapCounts) -> String {
    let mut out = String::new();
    for (what, help, values) in [
        ("packets", "Packets taken out, by what they were inside of.", &counts.packets),
        ("bytes", "Their bytes, without what was around them.", &counts.bytes),
    ] {
        let name = format!("penstock_decap_{what}_total");
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        for (kind, value) in DecapCounts::KINDS.iter().zip(values) {
            let _ = writeln!(out, "{name}{{encap=\"{kind}\"}} {value}");
        }
    }
    let name = "penstock_decap_refused_packets_total";
    let _ = writeln!(out, "# HELP {name} Packets dropped, by cause.\n# TYPE {name} counter");
    for (cause, value) in
        [("stranger", counts.strangers), ("malformed", counts.malformed), ("lost", counts.lost)]
    {
        let _ = writeln!(out, "{name}{{cause=\"{cause}\"}} {value}");
    }
    out
}

/// Whoever reads it sees all of it.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    fs::write(&fresh, text)?;
    fs::rename(fresh, path)
}

pub(crate) fn run(verb: &Verb) -> Result<(), Failed> {
    match verb {
        Verb::Detach(detach) => Ok(penstock_xdp::detach(&detach.pins, &detach.instance)?),
    }
}

#[cfg(test)]
mod tests {
    use super::{DecapCounts, metrics};

    #[test]
    fn counts_are_shown_by_encapsulation_and_by_cause() {
        let counts = DecapCounts {
            packets: [1, 2, 3],
            bytes: [40, 50, 60],
            strangers: 4,
            malformed: 5,
            lost: 6,
        };
        let text = metrics(&counts);
        for line in [
            "penstock_decap_packets_total{encap=\"ipip\"} 2",
            "penstock_decap_bytes_total{encap=\"gue\"} 60",
            "penstock_decap_refused_packets_total{cause=\"stranger\"} 4",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE")).count(), 3);
    }
}
