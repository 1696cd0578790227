//! `penstock filter build`: runs cargo for WebAssembly, and shows what came out.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use toml::{Table, Value};

use crate::filter::{Failure, inspect, module};

#[derive(Args, Debug)]
pub(crate) struct Build {
    /// The filter's folder.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Optimise; so it is without being said.
    #[arg(long, conflicts_with = "debug")]
    release: bool,
    /// Compile quicker, to a module that is much larger and slower.
    #[arg(long)]
    debug: bool,
}

/// Compiles the crate, puts its module beside the manifest, and inspects it.
pub(crate) fn run(arguments: &Build, out: &mut dyn Write) -> Result<(), Failure> {
    let manifest = arguments.dir.join("Cargo.toml");
    let table = read(&manifest)?;
    let name = table.get("package").and_then(|package| package.get("name")?.as_str());
    let name = name.ok_or_else(|| Failure::Malformed {
        path: manifest.clone(),
        reason: "no package is in it".to_owned(),
    })?;
    check_target(&arguments.dir)?;
    let built = compile(arguments, &manifest, &remap_flags(&arguments.dir, &table))?;
    let module = arguments.dir.join(format!("{name}.wasm"));
    let wasm = module::read(&built)?;
    fs::write(&module, &wasm).map_err(Failure::io(&module))?;
    let inspection = inspect::inspect(&wasm)?;
    inspect::show(&module, &wasm, &inspection, out)?;
    let verdict = inspect::verdict(&module, &inspection);
    match verdict {
        Err(Failure::Refused { path, reason }) if inspection.version.is_none() => {
            // The crate compiles without it, and exports nothing.
            let hint = "is `#[penstock::filter]` over the impl of `Filter` or `StreamFilter`?";
            Err(Failure::Refused { path, reason: format!("{reason}; {hint}") })
        }
        other => other,
    }
}

fn read(manifest: &Path) -> Result<Table, Failure> {
    let text = fs::read_to_string(manifest).map_err(Failure::io(manifest))?;
    text.parse().map_err(|error: toml::de::Error| Failure::Malformed {
        path: manifest.to_owned(),
        reason: error.to_string(),
    })
}

/// Says in one sentence what to do when the standard library for WebAssembly is not there:
/// rustc's own complaint is longer.
fn check_target(dir: &Path) -> Result<(), Failure> {
    let mut rustc = Command::new(program("RUSTC", "rustc"));
    // In the crate's folder, where a `rust-toolchain.toml` may be.
    rustc.current_dir(dir).args(["--print", "target-libdir", "--target", TARGET]);
    let output = rustc.output().map_err(|_| no_rust())?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && folder.is_dir() {
        return Ok(());
    }
    Err(Failure::Missing {
        what: format!("Rust's standard library for {TARGET} is not installed"),
        remedy: "run `rustup target add wasm32-unknown-unknown`",
    })
}

/// Runs cargo and answers where it put the module.
fn compile(arguments: &Build, manifest: &Path, config: &str) -> Result<PathBuf, Failure> {
    let mut cargo = Command::new(program("CARGO", "cargo"));
    cargo.current_dir(&arguments.dir);
    // Diagnostics go to standard error as ever; what was made is told on standard output.
    cargo.args(["build", "--lib", "--message-format=json-render-diagnostics"]);
    cargo.args(["--target", TARGET, "--config", config]);
    if !arguments.debug {
        cargo.arg("--release");
    }
    let mut cargo = cargo.stdout(Stdio::piped()).spawn().map_err(|_| no_rust())?;
    let wanted = fs::canonicalize(manifest).map_err(Failure::io(manifest))?;
    let mut module = None;
    if let Some(messages) = cargo.stdout.take() {
        for line in BufReader::new(messages).lines() {
            let line = line.map_err(Failure::io(manifest))?;
            module = made_module(&line, &wanted).or(module);
        }
    }
    let status = cargo.wait().map_err(Failure::io(manifest))?;
    if !status.success() {
        return Err(Failure::Command { command: "cargo build" });
    }
    module.ok_or_else(|| Failure::NoModule { path: manifest.to_owned() })
}

/// The module that a message of cargo tells of, if it is the one of this manifest.
fn made_module(line: &str, manifest: &Path) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let of = fs::canonicalize(message.get("manifest_path")?.as_str()?).ok()?;
    if message.get("reason")?.as_str()? != "compiler-artifact" || of != manifest {
        return None;
    }
    let mut files = message.get("filenames")?.as_array()?.iter().filter_map(|one| one.as_str());
    files.find(|file| file.ends_with(".wasm")).map(PathBuf::from)
}

/// Flags that keep this machine's folders out of panic messages, so that a module's digest is the
/// same wherever it is built. Added to what a cargo configuration sets; where the variable
/// `RUSTFLAGS` is set, cargo goes by that alone.
fn remap_flags(dir: &Path, manifest: &Table) -> String {
    let home = |name, below| env::var_os(name).map(|home| PathBuf::from(home).join(below));
    let cargo_home = home("CARGO_HOME", "").or_else(|| home("HOME", ".cargo"));
    let mut pairs: Vec<(PathBuf, String)> = Vec::new();
    // The last match wins: the more special ones come later.
    if let Some(cargo_home) = cargo_home {
        // A registry's folder is named after its address, which differs between mirrors.
        let sources = fs::read_dir(cargo_home.join("registry/src")).into_iter().flatten();
        let sources = sources.flatten().map(|entry| (entry.path(), "/crates".to_owned()));
        let sources: Vec<_> = sources.collect();
        pairs.push((cargo_home, "/cargo".to_owned()));
        pairs.extend(sources);
    }
    let here = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    for (name, dependency) in
        manifest.get("dependencies").and_then(Value::as_table).into_iter().flatten()
    {
        let path = dependency.get("path").and_then(Value::as_str);
        if let Some(path) = path.and_then(|path| fs::canonicalize(here.join(path)).ok()) {
            pairs.push((path, format!("/{name}")));
        }
    }
    pairs.push((here, "/filter".to_owned()));
    pairs.extend(standard_library(dir));
    let flag =
        |(from, to): &(PathBuf, String)| format!("--remap-path-prefix={}={to}", from.display());
    // A list of JSON strings is one of TOML strings.
    let flags = serde_json::json!(pairs.iter().map(flag).collect::<Vec<_>>());
    format!("target.{TARGET}.rustflags={flags}")
}

/// Where the standard library's sources are, if they are installed, and what the compiler calls
/// them where they are not: a module is the same in both cases.
fn standard_library(dir: &Path) -> Option<(PathBuf, String)> {
    let told = |arguments: &[&str]| {
        let mut rustc = Command::new(program("RUSTC", "rustc"));
        let output = rustc.current_dir(dir).args(arguments).output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    let (sysroot, version) = (told(&["--print", "sysroot"])?, told(&["-vV"])?);
    let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: "))?;
    let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust");
    Some((sources, format!("/rustc/{commit}")))
}

/// What a variable names, or the program of that name on the path.
fn program(variable: &str, name: &str) -> OsString {
    env::var_os(variable).unwrap_or_else(|| name.into())
}

fn no_rust() -> Failure {
    Failure::Missing { what: "Rust is not installed".to_owned(), remedy: "see https://rustup.rs" }
}

/// The only target without a system under it: a filter has none.
const TARGET: &str = "wasm32-unknown-unknown";
