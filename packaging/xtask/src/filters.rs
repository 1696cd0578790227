//! `cargo xtask filters`: compiles the shipped filters, or checks those that are committed.
//!
//! The bytes must depend on the sources and the compiler alone. Paths are remapped, so that two
//! people with the same compiler get the same module in different folders; with another compiler
//! only the committed digests are checked, and that is said.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use toml::{Table, Value};

use crate::files::{create, digest, read, read_table, write};
use crate::workspace::{cargo, root, succeed, target};

/// What to do with the shipped filters.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Compare with what is committed instead of replacing it.
    #[arg(long)]
    check: bool,
    /// Only these; all if none is named.
    filters: Vec<String>,
}

/// A filter's crate.
struct Filter {
    /// Its folder's name, and its module's.
    name: String,
    package: String,
}

/// What the manifest records of a module.
#[derive(PartialEq, Debug)]
pub(crate) struct Record {
    pub(crate) sha256: String,
    pub(crate) bytes: i64,
    pub(crate) rustc: String,
}

/// Builds the filters and writes or compares modules and manifest.
pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let filters = filters(&arguments.filters)?;
    let compiled = root().join(COMPILED);
    let mut manifest = read_table(&compiled.join(MANIFEST))?;
    if arguments.check {
        return check(&filters, &compiled, &manifest);
    }
    let rustc = rustc_version()?;
    let packages: Vec<&str> = filters.iter().map(|filter| &*filter.package).collect();
    let modules = build(&packages)?;
    create(&compiled)?;
    for (filter, module) in filters.iter().zip(&modules) {
        let bytes = read(module)?;
        let record = record(&bytes, &rustc);
        println!("{}: {} bytes, sha256 {}", filter.name, record.bytes, record.sha256);
        write(&compiled.join(format!("{}.wasm", filter.name)), &bytes)?;
        manifest.insert(filter.name.clone(), Value::Table(to_table(&record)));
    }
    write(&compiled.join(MANIFEST), render(&manifest).as_bytes())
}

/// The committed modules are those of the manifest, and those that our compiler gives.
fn check(filters: &[Filter], compiled: &Path, manifest: &Table) -> Result<(), String> {
    let rustc = rustc_version()?;
    let mut wrong = Vec::new();
    let mut buildable = Vec::new();
    for filter in filters {
        let Some(recorded) = manifest.get(&filter.name).and_then(from_table) else {
            wrong.push(format!("{}: not in {COMPILED}/{MANIFEST}", filter.name));
            continue;
        };
        let committed = read(&compiled.join(format!("{}.wasm", filter.name)))?;
        if record(&committed, &recorded.rustc) != recorded {
            wrong.push(format!("{}: the committed module is not the recorded one", filter.name));
        }
        match recorded.rustc == rustc {
            true => buildable.push((filter, recorded)),
            false => println!(
                "{}: digest checked; not rebuilt, it was made by rustc {} and this is {rustc}",
                filter.name, recorded.rustc,
            ),
        }
    }
    let packages: Vec<&str> = buildable.iter().map(|(filter, _)| &*filter.package).collect();
    for (module, (filter, recorded)) in build(&packages)?.iter().zip(&buildable) {
        match record(&read(module)?, &rustc) == *recorded {
            true => println!("{}: rebuilt, the same bytes", filter.name),
            false => wrong.push(format!("{}: sources give other bytes", filter.name)),
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(format!("{}\nrun `cargo xtask filters` and commit", wrong.join("\n"))),
    }
}

/// The crates under `filters/`, or those of them that are named.
fn filters(names: &[String]) -> Result<Vec<Filter>, String> {
    let folder = root().join("filters");
    let entries = fs::read_dir(&folder).map_err(|error| format!("filters: {error}"))?;
    let mut found: Vec<Filter> = entries
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .map(|name| Filter { package: format!("penstock-filter-{name}"), name })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(unknown) = names.iter().find(|name| found.iter().all(|one| one.name != **name)) {
        return Err(format!("there is no filter {unknown} in {}", folder.display()));
    }
    found.retain(|filter| names.is_empty() || names.contains(&filter.name));
    Ok(found)
}

/// Compiles the crates `packages` and says where their modules are, in the same order.
pub(crate) fn build(packages: &[&str]) -> Result<Vec<PathBuf>, String> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    // A folder of its own: other flags than the workspace's builds, which they would push out.
    let folder = target().join("filters");
    let mut command = cargo();
    command.args(["build", "--locked", "--lib", "--profile", "filter", "--target", WASM_TARGET]);
    command.arg("--target-dir").arg(&folder);
    for package in packages {
        command.args(["--package", package]);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", remap_flags()?.join("\u{1f}"));
    command.env_remove("RUSTFLAGS");
    succeed(&mut command).map_err(|error| {
        format!("{error}\nis the target there? `rustup target add {WASM_TARGET}`")
    })?;
    let built = folder.join(WASM_TARGET).join("filter");
    let module = |package: &&str| built.join(format!("{}.wasm", package.replace('-', "_")));
    Ok(packages.iter().map(module).collect())
}

/// Flags that take this machine's folders out of panic messages: the workspace, the registry's
/// sources, and the standard library's where they are installed.
pub(crate) fn remap_flags() -> Result<Vec<String>, String> {
    let sysroot = rustc_prints(&["--print", "sysroot"])?;
    let version = rustc_prints(&["-vV"])?;
    let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: "));
    let commit = commit.ok_or("rustc -vV says no commit-hash")?;
    let cargo_home = std::env::var("CARGO_HOME")
        .or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")))
        .map_err(|_| "neither CARGO_HOME nor HOME is set".to_owned())?;
    // The last match wins: the more special ones come later.
    let mut flags = vec![
        format!("--remap-path-prefix={cargo_home}=/cargo"),
        format!("--remap-path-prefix={sysroot}=/rust"),
        // What the compiler calls the standard library's sources where they are not installed.
        format!("--remap-path-prefix={sysroot}/lib/rustlib/src/rust=/rustc/{commit}"),
        format!("--remap-path-prefix={}=/penstock", root().display()),
    ];
    // The registry's folder is named after its address, which differs between mirrors.
    let sources = Path::new(&cargo_home).join("registry/src");
    let folders = fs::read_dir(sources).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = folders.map(|entry| entry.path()).collect();
    folders.sort();
    flags.extend(
        folders.iter().map(|folder| format!("--remap-path-prefix={}=/crates", folder.display())),
    );
    Ok(flags)
}

/// The compiler's release and commit.
pub(crate) fn rustc_version() -> Result<String, String> {
    let text = rustc_prints(&["--version"])?;
    Ok(text.trim_start_matches("rustc ").to_owned())
}

fn rustc_prints(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("rustc").current_dir(root()).args(arguments).output();
    let output = output.map_err(|error| format!("rustc: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

pub(crate) fn record(module: &[u8], rustc: &str) -> Record {
    Record { sha256: digest(module), bytes: module.len() as i64, rustc: rustc.to_owned() }
}

pub(crate) fn to_table(record: &Record) -> Table {
    let mut table = Table::new();
    table.insert("bytes".into(), record.bytes.into());
    table.insert("rustc".into(), record.rustc.clone().into());
    table.insert("sha256".into(), record.sha256.clone().into());
    table
}

pub(crate) fn from_table(value: &Value) -> Option<Record> {
    let text = |key| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let bytes = value.get("bytes")?.as_integer()?;
    Some(Record { sha256: text("sha256")?, bytes, rustc: text("rustc")? })
}

pub(crate) fn render(manifest: &Table) -> String {
    format!("{MANIFEST_HEAD}\n\n{manifest}")
}

const WASM_TARGET: &str = "wasm32-unknown-unknown";
const COMPILED: &str = "filters/compiled";
const MANIFEST_HEAD: &str =
    "# Written by `cargo xtask filters`, checked by `cargo xtask filters --check`.";
const MANIFEST: &str = "MANIFEST.toml";
