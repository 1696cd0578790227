//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cert::Cert;
use crate::doctor::Doctor;
use crate::filter::FilterArgs;
use crate::l4;

/// A load-balancer appliance: layer 7 on io_uring shards, extended by WASM filters.
#[derive(Parser)]
#[command(name = "penstock", version, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The register of verbs.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Serve from a config. SIGHUP reloads it, SIGTERM drains, SIGUSR1 reopens the access log.
    Run(Run),
    /// Report every mistake of a config, in what it names on this machine too: files, interfaces,
    /// filters, which are started once. Exits 0 where there is none, 1 where there are some, 2
    /// where the file can't be read. `config show` reads a config that is for another machine.
    Check(Check),
    /// Show a config, or the language.
    Config {
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Three origins, a listener, filters, an admin socket: nothing to prepare.
    Demo(Demo),
    /// Show what a running Penstock does.
    Status(Status),
    /// Show the fleet, and how routers hear of this appliance. Exits 1 where they don't.
    Fleet(Fleet),
    /// Have a running Penstock read its config again.
    Reload(Ask),
    /// Look at what of this machine is in the way of a config, and say what to do. Exits 1 where
    /// something does not work.
    Doctor(Doctor),
    /// On a backend of a `dsr` VIP, in place of a tunnel device: take packets of appliances out of
    /// their encapsulation. The VIP has to be on the loopback.
    Decap(l4::Decap),
    /// Layer 4 in the kernel.
    #[command(subcommand)]
    L4(l4::Verb),
    /// Look at certificates, and make some to try things with.
    #[command(subcommand)]
    Cert(Cert),
    /// Begin, build, inspect, test and measure WASM filters.
    #[command(subcommand)]
    Filter(FilterArgs),
    /// Print the version.
    Version {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub(crate) struct Run {
    /// The config.
    pub(crate) config: PathBuf,
}

#[derive(Args)]
pub(crate) struct Check {
    /// The config.
    pub(crate) file: PathBuf,
    /// How mistakes are shown.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The register of verbs under `config`.
#[derive(Subcommand)]
pub(crate) enum ConfigVerb {
    /// Show a config as it was understood.
    Show(Show),
    /// Print the JSON schema of the language, for editors.
    Schema,
}

#[derive(Args)]
pub(crate) struct Show {
    /// The config.
    pub(crate) file: PathBuf,
    /// With every default that it leaves out, too.
    #[arg(long)]
    pub(crate) defaults: bool,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Demo {
    /// Run for this long, check every answer, and exit 0 only if all were right.
    #[arg(long = "for", value_parser = duration, value_name = "TIME")]
    pub(crate) time: Option<Duration>,
    /// Requests per second that the demo sends to itself; 0 for none.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(0..=50_000))]
    pub(crate) rate: u32,
}

#[derive(Args)]
pub(crate) struct Ask {
    /// The admin socket.
    #[arg(long, default_value = "/run/penstock/admin.sock", value_name = "PATH")]
    pub(crate) socket: PathBuf,
    /// A config whose `[admin]` says where the API listens and which file has its token.
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) ask: Ask,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Say whether requests are welcome, and nothing else: for probes. Exits 1 where they are not.
    #[arg(long, conflicts_with = "json")]
    pub(crate) ready: bool,
}

#[derive(Args)]
pub(crate) struct Fleet {
    #[command(flatten)]
    pub(crate) ask: Ask,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `500ms`, `10s`, `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "a time is a whole number with ms, s or m behind it".to_owned();
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let number: u32 = digits.parse().map_err(|_| expected())?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number.into())),
        "s" => Ok(Duration::from_secs(number.into())),
        "m" => Ok(Duration::from_secs(u64::from(number) * 60)),
        _ => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;

    use super::{Arguments, duration};

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["10", "s", "", "1.5s", "10 s", "10h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
