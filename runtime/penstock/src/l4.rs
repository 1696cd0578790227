//! `penstock decap` and `penstock l4`: layer 4 where no config is read.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use penstock_xdp::Decap as Decapsulation;

use crate::Failed;

#[derive(Args)]
pub(crate) struct Decap {
    /// An appliance: its `tunnel` address, which packets come from. As often as there are some.
    #[arg(long, required = true, value_name = "ADDRESS")]
    from: Vec<IpAddr>,
    /// The TUN device that packets come out of.
    #[arg(long, default_value = "penstock0", value_name = "NAME")]
    device: String,
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
    match decap.run()? {}
}

pub(crate) fn run(verb: &Verb) -> Result<(), Failed> {
    match verb {
        Verb::Detach(detach) => Ok(penstock_xdp::detach(&detach.pins, &detach.instance)?),
    }
}
