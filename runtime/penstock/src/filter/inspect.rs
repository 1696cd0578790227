//! `penstock filter inspect`: what a module is, wants, and would be refused for.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use penstock_filter_host::abi::{Capability, Priority};
use penstock_filter_host::{Engine, EngineSettings, FilterSettings, Import, Inspection, hex};
use serde_json::{Value, json};

use crate::filter::{Failure, module};

#[derive(Args, Debug)]
pub(crate) struct Inspect {
    /// The module.
    file: PathBuf,
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// Shows the module.
pub(crate) fn run(arguments: &Inspect, out: &mut dyn Write) -> Result<(), Failure> {
    let wasm = module::read(&arguments.file)?;
    let inspection = inspect(&wasm)?;
    match arguments.json {
        true => writeln!(out, "{:#}", to_json(&arguments.file, &wasm, &inspection))?,
        false => show(&arguments.file, &wasm, &inspection, out)?,
    }
    verdict(&arguments.file, &inspection)
}

/// Looks at a module as a proxy with the default limits would.
pub(crate) fn inspect(wasm: &[u8]) -> Result<Inspection, Failure> {
    let engine = Engine::new(EngineSettings { deadlines: false, fuel_max: None })?;
    let memory_bytes_max = FilterSettings::new("").memory_bytes_max as u64;
    Ok(Inspection::of(&engine, wasm, memory_bytes_max))
}

/// Whether Penstock would take it.
pub(crate) fn verdict(file: &Path, inspection: &Inspection) -> Result<(), Failure> {
    let problems: Vec<String> = inspection.problems.iter().map(ToString::to_string).collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure::Refused { path: file.to_owned(), reason: problems.join("; ") }),
    }
}

/// Shows it to people.
pub(crate) fn show(
    file: &Path,
    wasm: &[u8],
    inspection: &Inspection,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    writeln!(out, "{}", file.display())?;
    let mut row = |name: &str, value: String| match value.is_empty() {
        true => Ok(()),
        false => writeln!(out, "  {name:<14} {value}"),
    };
    let abi = inspection.version.map_or("none", |version| version.name());
    row("ABI", format!("proxy-wasm {abi}"))?;
    row("size", format!("{} bytes", wasm.len()))?;
    row("memory", format!("{} KiB from the start", inspection.memory_bytes_min >> 10))?;
    row("sha256", hex(&inspection.sha256))?;
    row("for", uses(inspection).join(", "))?;
    let callbacks: Vec<&str> = inspection.callbacks.iter().map(|one| one.name()).collect();
    row("callbacks", callbacks.join(", "))?;
    row("exports", inspection.other_exports.join(", "))?;
    for (capability, imports) in by_capability(inspection) {
        row(capability, imports.into_iter().map(import_name).collect::<Vec<_>>().join(", "))?;
    }
    for problem in &inspection.problems {
        row("refused", problem.to_string())?;
    }
    Ok(())
}

/// Where its callbacks are of use.
fn uses(inspection: &Inspection) -> Vec<&'static str> {
    let both = [
        (inspection.is_for_exchanges(), "listeners and routes"),
        (inspection.is_for_connections(), "services"),
    ];
    both.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect()
}

/// Imports under the capability that each needs; those that the host doesn't know last.
fn by_capability(inspection: &Inspection) -> Vec<(&'static str, Vec<&Import>)> {
    let mut known: BTreeMap<Capability, Vec<&Import>> = BTreeMap::new();
    let mut unknown = Vec::new();
    for import in &inspection.imports {
        match import.hostcall {
            Some(call) => known.entry(call.capability).or_default().push(import),
            None => unknown.push(import),
        }
    }
    let known = known.into_iter().map(|(capability, imports)| (capability.name(), imports));
    known.chain((!unknown.is_empty()).then_some(("unknown", unknown))).collect()
}

/// As the module names it; and whether calling it is of any use here.
fn import_name(import: &Import) -> String {
    match import.hostcall {
        None => format!("{}.{}", import.module, import.name),
        Some(call) if call.priority == Priority::P1 => {
            format!("{} (answers that it is not there yet)", import.name)
        }
        Some(_) => import.name.clone(),
    }
}

fn to_json(file: &Path, wasm: &[u8], inspection: &Inspection) -> Value {
    let imports = inspection.imports.iter().map(|import| {
        json!({
            "module": import.module,
            "name": import.name,
            "capability": import.hostcall.map(|call| call.capability.name()),
            "works": import.hostcall.is_some_and(|call| call.priority == Priority::P0),
        })
    });
    let callbacks = inspection.callbacks.iter().map(|callback| callback.name());
    let problems = inspection.problems.iter().map(ToString::to_string);
    json!({
        "file": file.to_string_lossy(),
        "accepted": inspection.problems.is_empty(),
        "abi": inspection.version.map(|version| version.name()),
        "bytes": wasm.len(),
        "memory_bytes_min": inspection.memory_bytes_min,
        "sha256": hex(&inspection.sha256),
        "for": uses(inspection),
        "callbacks": callbacks.collect::<Vec<_>>(),
        "other_exports": inspection.other_exports,
        "imports": imports.collect::<Vec<_>>(),
        "problems": problems.collect::<Vec<_>>(),
    })
}
