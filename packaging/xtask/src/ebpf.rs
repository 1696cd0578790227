//! `cargo xtask ebpf`: compiles the XDP program, or checks the object that is committed.
//!
//! The object is committed so that nobody who builds Penstock needs more than rustup's stable.
//! Its bytes depend on the sources, on rustc and on bpf-linker alone, not on the tree's folder:
//! where both are those of the manifest the check rebuilds, elsewhere it compares digests and says
//! so.

use std::path::Path;
use std::process::Command;

use clap::Args;
use toml::{Table, Value};

use crate::files::{digest, read, read_table, write};
use crate::filters::{remap_flags, rustc_version};
use crate::rustc;
use crate::workspace::{cargo, root, succeed, target};

/// What to do with the XDP program.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Compare with what is committed instead of replacing it.
    #[arg(long)]
    check: bool,
}

/// What the manifest records of the object.
#[derive(PartialEq, Debug, Clone)]
pub(crate) struct Record {
    pub(crate) bytes: i64,
    pub(crate) sha256: String,
    /// What it was made with.
    pub(crate) rustc: String,
    pub(crate) bpf_linker: String,
    /// What it was made of: paths from the root, and the digest over all of them.
    pub(crate) sources: Vec<String>,
    pub(crate) sources_sha256: String,
}

/// Builds the object and writes it with its manifest, or compares both.
pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    match arguments.check {
        true => check(),
        false => {
            let linker = linker_version().ok_or(NO_LINKER)?;
            let (object, record) = build(&linker)?;
            println!("{OBJECT}: {} bytes, sha256 {}", record.bytes, record.sha256);
            write(&root().join(OBJECT), &object)?;
            write(&root().join(MANIFEST), render(&record).as_bytes())
        }
    }
}

/// The committed object is that of the manifest, made of these sources, and ours where we can.
fn check() -> Result<(), String> {
    let manifest = read_table(&root().join(MANIFEST))?;
    let recorded = from_table(&manifest).ok_or(format!("{MANIFEST}: not whole"))?;
    let object = read(&root().join(OBJECT))?;
    if digest(&object) != recorded.sha256 || object.len() as i64 != recorded.bytes {
        return Err(format!("{OBJECT}: not the recorded object; {ADVICE}"));
    }
    if sources_digest(root().as_path(), &recorded.sources)? != recorded.sources_sha256 {
        return Err(format!("{OBJECT}: its sources have changed; {ADVICE}"));
    }
    let rustc = rustc_version()?;
    let Some(linker) = linker_version() else {
        println!("{OBJECT}: digests checked; not rebuilt, bpf-linker is not installed");
        return Ok(());
    };
    if (&rustc, &linker) != (&recorded.rustc, &recorded.bpf_linker) {
        println!(
            "{OBJECT}: digests checked; not rebuilt, it was made by rustc {} and bpf-linker {}, \
             these are {rustc} and {linker}",
            recorded.rustc, recorded.bpf_linker,
        );
        return Ok(());
    }
    match build(&linker)?.1 == recorded {
        true => println!("{OBJECT}: rebuilt, the same bytes"),
        false => return Err(format!("{OBJECT}: the sources give other bytes; {ADVICE}")),
    }
    Ok(())
}

/// Compiles the program and says what it was made of.
fn build(linker: &str) -> Result<(Vec<u8>, Record), String> {
    // The program's own workspace, and a folder of its own: another target, another `core`.
    let folder = target().join("ebpf");
    let mut command = cargo();
    command.current_dir(root().join(PROGRAM));
    command.args(["build", "--locked", "--release", "--target", TARGET]);
    command.arg("--target-dir").arg(&folder);
    // There is no `core` for this target to install: it is compiled from the rust-src component,
    // which stable cargo does only when told to behave like a nightly one.
    command.arg("-Zbuild-std=core").env("RUSTC_BOOTSTRAP", "1");
    // The packet logic is outside of this workspace.
    rustc::stand_in(&mut command)?;
    let mut flags = remap_flags()?;
    flags.extend(FLAGS.iter().map(|flag| (*flag).to_owned()));
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}")).env_remove("RUSTFLAGS");
    succeed(&mut command)
        .map_err(|error| format!("{error}\nis it there? `rustup component add rust-src`"))?;
    let built = folder.join(TARGET).join("release");
    let object = link(&built)?;
    let listed = read(&built.join(format!("{BINARY}.d")))?;
    let sources = sources(&String::from_utf8_lossy(&listed), &root());
    let record = Record {
        bytes: object.len() as i64,
        sha256: digest(&object),
        rustc: rustc_version()?,
        bpf_linker: linker.to_owned(),
        sources_sha256: sources_digest(&root(), &sources)?,
        sources,
    };
    Ok((object, record))
}

/// Links a second time, from bitcode: with what rustc exports (every `no_mangle` function of every
/// crate) the object would hold `memset` and `memcpy`, called or not. What is not in the list
/// of exports and not called is gone after this.
fn link(built: &Path) -> Result<Vec<u8>, String> {
    let output = built.join(format!("{BINARY}.o"));
    let mut command = Command::new("bpf-linker");
    command.args(["--cpu", CPU, "-O", "3"]);
    // "In order" turns each setting and moving of memory into a call, however short.
    command.args(["--disable-memory-builtins", "--disable-expand-memcpy-in-order"]);
    command.arg("--export-symbols").arg(root().join(EXPORTS));
    command.arg("-o").arg(&output).arg(built.join(BINARY));
    succeed(&mut command)?;
    read(&output)
}

/// The files under `root` that a dep-info file of rustc names, and the manifests beside them.
pub(crate) fn sources(listed: &str, root: &Path) -> Vec<String> {
    // `target: source source`; no path of this repository holds a blank.
    let named = listed.lines().filter_map(|line| line.split_once(": "));
    let named = named.flat_map(|(_, sources)| sources.split_whitespace());
    let named = named.filter_map(|path| Path::new(path).strip_prefix(root).ok());
    let named = named.filter_map(|path| path.to_str().map(str::to_owned));
    let mut sources: Vec<String> = named.chain(MANIFESTS.iter().map(|m| (*m).to_owned())).collect();
    sources.sort();
    sources.dedup();
    sources
}

/// One digest over paths and contents. An absent file is an error: it was a source.
pub(crate) fn sources_digest(root: &Path, sources: &[String]) -> Result<String, String> {
    let mut all = Vec::new();
    for source in sources {
        let bytes = read(&root.join(source))?;
        all.extend_from_slice(format!("{source} {}\n", digest(&bytes)).as_bytes());
    }
    Ok(digest(&all))
}

/// The version of bpf-linker, or none where it is not installed.
fn linker_version() -> Option<String> {
    let output = Command::new("bpf-linker").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    text.strip_prefix("bpf-linker ").map(str::to_owned)
}

pub(crate) fn render(record: &Record) -> String {
    let mut table = Table::new();
    table.insert("bytes".into(), record.bytes.into());
    table.insert("sha256".into(), record.sha256.clone().into());
    table.insert("rustc".into(), record.rustc.clone().into());
    table.insert("bpf-linker".into(), record.bpf_linker.clone().into());
    table.insert("sources-sha256".into(), record.sources_sha256.clone().into());
    let sources = record.sources.iter().cloned().map(Value::from).collect();
    table.insert("sources".into(), Value::Array(sources));
    format!("{MANIFEST_HEAD}\n\n{}", toml::to_string_pretty(&table).unwrap_or_default())
}

pub(crate) fn from_table(table: &Table) -> Option<Record> {
    let text = |key| table.get(key).and_then(Value::as_str).map(str::to_owned);
    let sources = table.get("sources")?.as_array()?;
    Some(Record {
        bytes: table.get("bytes")?.as_integer()?,
        sha256: text("sha256")?,
        rustc: text("rustc")?,
        bpf_linker: text("bpf-linker")?,
        sources: sources.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
        sources_sha256: text("sources-sha256")?,
    })
}

const PROGRAM: &str = "runtime/xdp/ebpf";
const BINARY: &str = "penstock";
const OBJECT: &str = "runtime/xdp/penstock.bpf.o";
const MANIFEST: &str = "runtime/xdp/penstock.bpf.toml";
const TARGET: &str = "bpfel-unknown-none";
/// What decides beside the code: versions, the build's profile, what is kept.
const MANIFESTS: &[&str] = &["runtime/xdp/ebpf/Cargo.lock", "runtime/xdp/ebpf/Cargo.toml", EXPORTS];
const EXPORTS: &str = "runtime/xdp/ebpf/exports";
/// Instructions of the kernels from 5.1 on: 32-bit arithmetic and jumps.
const CPU: &str = "v3";
const FLAGS: &[&str] = &[
    "-Clinker=bpf-linker",
    "-Clink-arg=--emit=llvm-bc",
    "-Ctarget-cpu=v3",
    "-Cpanic=abort",
    // Which processor's registers a tracing program sees. This one sees none, but the bytes must
    // not depend on where they are built.
    "--cfg",
    "bpf_target_arch=\"x86_64\"",
];
const MANIFEST_HEAD: &str =
    "# Written by `cargo xtask ebpf`, checked by `cargo xtask ebpf --check`.";
const ADVICE: &str = "run `cargo xtask ebpf` and commit";
const NO_LINKER: &str = "bpf-linker is not installed; runtime/xdp/ebpf/README.md says how";
