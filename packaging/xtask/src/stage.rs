//! What the Debian package and the container image both have: a tree of files as they will lie on
//! the system.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::files::{create, read, write};
use crate::workspace::{cargo, root, succeed, target};

/// Where the shipped filters lie.
pub(crate) const FILTERS: &str = "usr/lib/penstock/filters";
/// Where the binary lies.
pub(crate) const BINARY: &str = "usr/bin/penstock";
/// Where the config lies.
pub(crate) const CONFIG: &str = "etc/penstock/penstock.toml";

/// Builds the binary, and lays it into an empty `tree` with the filters and a config to start from.
pub(crate) fn begin(tree: &Path) -> Result<(), String> {
    let build = ["build", "--release", "--locked", "--package", "penstock", "--bin", "penstock"];
    succeed(cargo().args(build))?;
    empty(tree)?;
    let binary = tree.join(BINARY);
    lay(&target().join("release/penstock"), &binary, 0o755)?;
    // Names of functions stay, for backtraces; tables for debuggers go: most of the file.
    succeed(Command::new("strip").arg("--strip-debug").arg(&binary))?;
    lay(&root().join("packaging/debian/penstock.toml"), &tree.join(CONFIG), 0o644)?;
    for (from, to) in filters()? {
        lay(&from, &tree.join(to), 0o644)?;
    }
    Ok(())
}

/// The shipped modules as they are committed, and where each will lie.
pub(crate) fn filters() -> Result<Vec<(PathBuf, PathBuf)>, String> {
    let folder = root().join("filters/compiled");
    let entries =
        fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    found.sort();
    let placed = |path: PathBuf| {
        let to = Path::new(FILTERS).join(path.file_name()?);
        Some((path, to))
    };
    Ok(found.into_iter().filter_map(placed).collect())
}

/// Copies a file to where it will lie, with its folders.
pub(crate) fn lay(from: &Path, to: &Path, mode: u32) -> Result<(), String> {
    if let Some(folder) = to.parent() {
        create(folder)?;
    }
    write(to, &read(from)?)?;
    let failed = |error| format!("{}: {error}", to.display());
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).map_err(failed)
}

/// Makes the folder, without anything in it.
pub(crate) fn empty(folder: &Path) -> Result<(), String> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    create(folder)
}

/// What holds of either, once it is unpacked: it has all its files, and what runs runs.
pub(crate) fn is_whole(unpacked: &Path, files: &[&str]) -> Result<(), String> {
    let filters = filters()?;
    let expected = filters.iter().map(|(_, to)| to.as_path()).chain(files.iter().map(Path::new));
    let missing: Vec<String> = expected
        .filter(|path| !unpacked.join(path).is_file())
        .map(|path| path.display().to_string())
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!("{} are missing", missing.join(", "))),
    }
}
