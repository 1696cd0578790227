//! `cargo xtask bench-peers`: builds what is measured, runs the scenarios, prints their tables.

use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use penstock_benches::{BenchError, FilterUnderTest, Peer, Plan, Report, Spoken, scenario};

use crate::filters::build;
use crate::workspace::{cargo, said, succeed, target};

/// How to measure.
#[derive(Args)]
pub(crate) struct Arguments {
    /// What to measure; all scenarios if none is named.
    scenarios: Vec<Scenario>,
    /// How often each proxy has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Seconds of one turn.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=60))]
    seconds: u16,
    /// Only these proxies.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<PeerName>,
    /// Idle connections per proxy.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u16).range(1..=60_000))]
    idle_connections: u16,
    /// Requests per proxy in the soak.
    #[arg(long, default_value_t = 5_000_000)]
    soak_requests: u64,
    /// The core that proxies are pinned to.
    #[arg(long, default_value_t = 0)]
    proxy_core: usize,
    /// The core of load generator and origin.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// The module of the filter scenario, in place of the one in benches/filter.
    #[arg(long)]
    wasm: Option<PathBuf>,
    /// The configuration text that the module is given.
    #[arg(long, default_value = GATE_CONFIG)]
    wasm_config: String,
    /// What an answer's head has in it, in lower case, only where the module has run.
    #[arg(long, default_value = "x-gate: passed")]
    wasm_proof: String,
    /// A header line that the load generator adds (`Name: value`), any number of times.
    #[arg(long, default_value = "Authorization: Bearer bench")]
    header: Vec<String>,
    /// A Penstock binary to measure instead of building this tree's.
    #[arg(long)]
    penstock: Option<PathBuf>,
    /// Where to write the tables too.
    #[arg(long)]
    output: Option<PathBuf>,
}

/// What the filter of benches/filter is told.
const GATE_CONFIG: &str = r#"{"token":"bench","routes":[{"prefix":"/v2/","to":"next"}]}"#;

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Scenario {
    Http1,
    Idle,
    IdleTls,
    IdleTls12,
    IdleH2,
    Filters,
    Soak,
    Tls,
    H2,
    H2Upstream,
    Grpc,
    L4,
    L4Connections,
    L4Idle,
    L4Datagrams,
}

#[derive(Clone, Copy, ValueEnum)]
enum PeerName {
    Penstock,
    PenstockLog,
    Haproxy,
    Nginx,
    Envoy,
    EnvoyTuned,
}

impl From<PeerName> for Peer {
    fn from(name: PeerName) -> Self {
        match name {
            PeerName::Penstock => Peer::Penstock,
            PeerName::PenstockLog => Peer::PenstockLog,
            PeerName::Haproxy => Peer::Haproxy,
            PeerName::Nginx => Peer::Nginx,
            PeerName::Envoy => Peer::EnvoyDefault,
            PeerName::EnvoyTuned => Peer::EnvoyTuned,
        }
    }
}

/// Runs the scenarios that were asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let mut plan = plan(arguments)?;
    let scenarios = match arguments.scenarios.as_slice() {
        [] => Scenario::value_variants(),
        some => some,
    };
    let mut tables = String::new();
    for scenario in scenarios {
        if *scenario == Scenario::Filters {
            plan.filter = Some(filter(arguments)?);
        }
        let report = measure(*scenario, &plan, &peers(arguments, *scenario))
            .map_err(|error| error.to_string())?;
        let mut table = report.markdown();
        if *scenario == Scenario::L4 {
            table += &packets()?;
        }
        println!("{table}");
        tables.push_str(&table);
        tables.push('\n');
    }
    let output = arguments.output.clone().unwrap_or_else(|| plan.folder.join("tables.md"));
    fs::write(&output, tables).map_err(|error| format!("{}: {error}", output.display()))?;
    eprintln!("tables: {}; configurations and logs beside them", output.display());
    Ok(())
}

/// Those that were named, or those that the scenario is about.
fn peers(arguments: &Arguments, scenario: Scenario) -> Vec<Peer> {
    if !arguments.peers.is_empty() {
        return arguments.peers.iter().copied().map(Peer::from).collect();
    }
    let others = [Peer::Haproxy, Peer::Nginx, Peer::EnvoyDefault, Peer::EnvoyTuned];
    match scenario {
        Scenario::Http1 => [&[Peer::Penstock, Peer::PenstockLog], &others[..]].concat(),
        Scenario::Idle => [&[Peer::Penstock], &others[..]].concat(),
        // nginx speaks no HTTP/2 to its origins.
        Scenario::H2 | Scenario::H2Upstream | Scenario::Grpc | Scenario::IdleH2 => {
            vec![Peer::Penstock, Peer::Haproxy, Peer::EnvoyDefault, Peer::EnvoyTuned]
        }
        Scenario::L4Datagrams => vec![Peer::Penstock, Peer::Nginx],
        // It names its own.
        Scenario::Filters => Vec::new(),
        Scenario::Soak => vec![Peer::Penstock],
        Scenario::Tls | Scenario::IdleTls | Scenario::IdleTls12 => {
            vec![Peer::Penstock, Peer::Haproxy, Peer::Nginx]
        }
        Scenario::L4 | Scenario::L4Connections | Scenario::L4Idle => {
            vec![Peer::Penstock, Peer::Haproxy, Peer::Nginx, Peer::EnvoyDefault]
        }
    }
}

fn measure(scenario: Scenario, plan: &Plan, peers: &[Peer]) -> Result<Report, BenchError> {
    let speaking = |spoken| Plan { spoken, ..plan.clone() };
    match scenario {
        Scenario::Http1 => scenario::http1(plan.clone(), peers),
        Scenario::Idle => scenario::idle(plan.clone(), peers),
        Scenario::IdleTls => scenario::idle(speaking(Spoken::Tls), peers),
        Scenario::IdleTls12 => scenario::idle(speaking(Spoken::Tls12), peers),
        Scenario::IdleH2 => scenario::idle(speaking(Spoken::Http2ToHttp1), peers),
        Scenario::Filters => scenario::filters(plan.clone()),
        Scenario::Soak => scenario::soak(plan.clone(), peers),
        Scenario::Tls => scenario::tls(plan.clone(), peers),
        Scenario::H2 => scenario::http2_to_http1(plan.clone(), peers),
        Scenario::H2Upstream => scenario::http2(plan.clone(), peers),
        Scenario::Grpc => scenario::grpc(plan.clone(), peers),
        Scenario::L4 => scenario::l4_bulk(plan.clone(), peers),
        Scenario::L4Connections => scenario::l4_connections(plan.clone(), peers),
        Scenario::L4Idle => scenario::l4_idle(plan.clone(), peers),
        Scenario::L4Datagrams => scenario::l4_datagrams(plan.clone(), peers),
    }
}

/// The module that was named, or ours, built now.
fn filter(arguments: &Arguments) -> Result<FilterUnderTest, String> {
    let wasm = match &arguments.wasm {
        Some(path) if path.is_file() => path.clone(),
        Some(path) => return Err(format!("{} is no file", path.display())),
        None => build(&["penstock-benches-filter"])?.remove(0),
    };
    let (config, proof) = (arguments.wasm_config.clone(), arguments.wasm_proof.clone());
    Ok(FilterUnderTest { wasm, config, proof })
}

/// What layer 4 has beside proxies: packets by XDP beside C and nftables, and Maglev's tables.
/// What can't be measured here says so itself.
fn packets() -> Result<String, String> {
    let mut text = "\n## Packets of layer 4\n\n".to_owned();
    for bench in ["program", "packets", "maglev"] {
        let bench = ["bench", "--quiet", "-p", "penstock-xdp", "--bench", bench];
        let output = said(cargo().args(bench))?;
        output.lines().for_each(|line| text.extend(["- ", line, "\n"]));
    }
    Ok(text)
}

/// Builds what is measured and says where it is.
fn plan(arguments: &Arguments) -> Result<Plan, String> {
    let release = ["build", "--release", "--package"];
    succeed(cargo().args(release).args(["penstock-benches", "--bin", "bench-origin"]))?;
    let folder = target();
    let built = folder.join("release");
    let penstock = match &arguments.penstock {
        Some(path) => path.clone(),
        None => {
            succeed(cargo().args(release).arg("penstock"))?;
            built.join("penstock")
        }
    };
    Ok(Plan {
        penstock,
        origin: built.join("bench-origin"),
        folder: folder.join("bench-peers"),
        rounds: arguments.rounds.into(),
        seconds: arguments.seconds.into(),
        proxy_core: arguments.proxy_core,
        load_core: arguments.load_core,
        idle_connections: arguments.idle_connections.into(),
        soak_requests: arguments.soak_requests,
        filter: None,
        spoken: Spoken::Http1,
        body_bytes: 512,
        headers: arguments.header.clone(),
    })
}
