//! `penstock filter new`: writes the SDK's template as a crate of its own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::filter::Failure;

#[derive(Args, Debug)]
pub(crate) struct New {
    /// The filter's name: the crate's, the module's, the one in a configuration.
    name: String,
    /// One of raw TCP connections, for services, in place of one of requests.
    #[arg(long)]
    stream: bool,
    /// The folder to write to. Without it: the name.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The folder `filters-sdk` of a checkout of Penstock. Without it: that of the checkout which
    /// this program was built in.
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

/// Writes the crate, and says what comes next.
pub(crate) fn run(arguments: &New, out: &mut dyn Write) -> Result<(), Failure> {
    let New { name, dir, sdk, stream } = arguments;
    check_name(name)?;
    let folder = dir.clone().unwrap_or_else(|| PathBuf::from(name));
    if is_occupied(&folder)? {
        return Err(Failure::Exists { path: folder });
    }
    let sdk = match sdk {
        Some(sdk) => Some(checked_sdk(sdk)?),
        None => checked_sdk(Path::new(CHECKOUT_SDK)).ok(),
    };
    let path = sdk.as_deref().unwrap_or(Path::new("filters-sdk"));
    // A string of JSON is a basic string of TOML (TOML 1.0 §String).
    let path = serde_json::json!(path.to_string_lossy());
    for (file, text) in COMMON.iter().chain(if *stream { STREAM } else { TEMPLATE }) {
        let text = text
            .replace("{{name}}", name)
            .replace("{{module}}", &name.replace('-', "_"))
            .replace("{{sdk}}", &format!("path = {path}"));
        write(&folder.join(file), &text)?;
    }
    let folder = folder.display();
    let what = if *stream { "waits for a word" } else { "greets" };
    writeln!(out, "{folder}: a filter that {what}, with its tests")?;
    if sdk.is_none() {
        writeln!(
            out,
            "the checkout that this penstock was built in is gone: in {folder}/Cargo.toml, set \
             the path of `penstock` to the folder `filters-sdk` of another one",
        )?;
    }
    writeln!(out, "next:\n  cd {folder} && cargo test\n  penstock filter build")?;
    Ok(())
}

/// What cargo takes as a crate's name, and what doesn't collide with the crates it uses.
fn check_name(name: &str) -> Result<(), Failure> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let reason = match name.as_bytes() {
        [first, ..] if !first.is_ascii_lowercase() => "it begins with a small letter",
        [] => "it is empty",
        bytes if bytes.len() > NAME_BYTES_MAX => "it has more than 64 letters",
        bytes if !bytes.iter().all(|byte| letter(*byte) || b"-_".contains(byte)) => {
            "it consists of small letters, digits, `-` and `_`"
        }
        _ if RESERVED.split(' ').any(|word| word == name) => {
            "it means something else to Rust or to this crate"
        }
        _ => return Ok(()),
    };
    Err(Failure::Name { name: name.to_owned(), reason })
}

/// Whether a new crate would fall among other things.
fn is_occupied(folder: &Path) -> Result<bool, Failure> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        // A file of that name, or a folder that may not be read.
        Err(error) => Err(Failure::io(folder)(error)),
    }
}

/// The SDK's folder by its whole path, so that the new crate may lie anywhere.
fn checked_sdk(folder: &Path) -> Result<PathBuf, Failure> {
    let manifest = folder.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(Failure::io(&manifest))?;
    if !text.contains("name = \"penstock-filters-sdk\"") {
        let reason = "not the manifest of Penstock's `filters-sdk`".to_owned();
        return Err(Failure::Malformed { path: manifest, reason });
    }
    fs::canonicalize(folder).map_err(Failure::io(folder))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Failure::io(folder))?;
    }
    fs::write(path, text).map_err(Failure::io(path))
}

/// Each file of both templates: its place in a new crate, and its text.
const COMMON: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../../../filters-sdk/template/Cargo.toml.template")),
    (".gitignore", include_str!("../../../../filters-sdk/template/gitignore.template")),
];

/// Those of a filter of requests alone.
const TEMPLATE: &[(&str, &str)] = &[
    ("README.md", include_str!("../../../../filters-sdk/template/README.md.template")),
    ("src/lib.rs", include_str!("../../../../filters-sdk/template/src/lib.rs")),
    ("src/tests.rs", include_str!("../../../../filters-sdk/template/src/tests.rs")),
    ("exchanges.toml", include_str!("../../../../filters-sdk/template/exchanges.toml.template")),
];

/// Those of a filter of raw connections.
const STREAM: &[(&str, &str)] = &[
    ("README.md", include_str!("../../../../filters-sdk/template/stream/README.md.template")),
    ("src/lib.rs", include_str!("../../../../filters-sdk/template/stream/src/lib.rs")),
    ("src/tests.rs", include_str!("../../../../filters-sdk/template/stream/src/tests.rs")),
    (
        "connections.toml",
        include_str!("../../../../filters-sdk/template/stream/connections.toml.template"),
    ),
];

/// Where the SDK was when this program was compiled.
const CHECKOUT_SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../filters-sdk");

/// The limit that registries put on a crate's name.
const NAME_BYTES_MAX: usize = 64;

/// Keywords of Rust, crates that come with it, and crates that the template names.
const RESERVED: &str = "\
    abstract alloc as async await become box break const continue core crate do dyn else \
    enum extern false final fn for gen if impl in let loop macro match mod move mut override \
    penstock priv proc_macro pub ref return self serde static std struct super test trait \
    true try type typeof unsafe unsized use virtual where while yield";
