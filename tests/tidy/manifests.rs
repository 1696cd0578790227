//! Rules about `Cargo.toml` files: names, floors, rooms, versions.

use toml::{Table, Value};

use crate::{FLOORS, Finding, NARROW, ROOMS, Tree};

/// A manifest of a member of the workspace.
struct Manifest<'a> {
    /// Its folder, from the root.
    folder: &'a str,
    path: &'a str,
    text: &'a str,
    table: Table,
    /// Short names that the workspace gives, as `(name, package)`.
    renames: Vec<(String, String)>,
}

/// A dependency as a manifest names it.
struct Dependency {
    name: String,
    value: Value,
    /// Of its tests only.
    for_tests: bool,
}

/// Every crate has a floor, and sees lower ones only.
pub(crate) fn floors(tree: &Tree) -> Vec<Finding> {
    let (manifests, mut findings) = members(tree);
    for manifest in &manifests {
        let Some(floor) = floor(manifest.folder) else {
            findings.push(manifest.finding("[package]", "a crate without a floor in tests/tidy"));
            continue;
        };
        // A test may look up: it is not in the product.
        for dependency in manifest.dependencies().iter().filter(|one| !one.for_tests) {
            let of_ours = manifests.iter().find(|other| other.name() == dependency.name);
            let Some(theirs) = of_ours.and_then(|other| self::floor(other.folder)) else {
                continue;
            };
            if theirs >= floor {
                let why = format!(
                    "floor {floor} sees {} of floor {theirs}: dependencies point down only",
                    dependency.name,
                );
                findings.push(manifest.finding(&dependency.name, why));
            }
        }
    }
    findings
}

/// Crates that see less of ours than their floor would allow.
pub(crate) fn narrow_crates(tree: &Tree) -> Vec<Finding> {
    let (manifests, mut findings) = members(tree);
    for manifest in &manifests {
        let Some((_, allowed)) = NARROW.iter().find(|(row, _)| is_row(row, manifest.folder)) else {
            continue;
        };
        for dependency in manifest.dependencies().iter().filter(|one| !one.for_tests) {
            let name = dependency.name.as_str();
            if name.starts_with("penstock") && !allowed.contains(&name) {
                findings.push(manifest.finding(name, format!("may see of ours only {allowed:?}")));
            }
        }
    }
    findings
}

/// A heavy dependency is named in its rooms only.
pub(crate) fn heavy_dependencies(tree: &Tree) -> Vec<Finding> {
    let (manifests, mut findings) = members(tree);
    for manifest in &manifests {
        for dependency in manifest.dependencies() {
            let name = dependency.name.as_str();
            let room = ROOMS.iter().find(|(heavy, _)| *heavy == name);
            if let Some((_, rooms)) = room
                && !rooms.contains(&manifest.folder)
            {
                findings.push(manifest.finding(name, format!("{name} lives in {rooms:?}")));
            }
        }
    }
    findings
}

/// Versions and features are set once, in the workspace.
pub(crate) fn versions(tree: &Tree) -> Vec<Finding> {
    let (manifests, mut findings) = members(tree);
    for manifest in &manifests {
        for dependency in manifest.dependencies() {
            let inherited = dependency.value.get("workspace").and_then(Value::as_bool);
            if inherited != Some(true) {
                let why = "the version is set in the workspace: say `workspace = true`";
                findings.push(manifest.finding(&dependency.name, why));
            }
        }
    }
    findings
}

/// A crate is named after its folder and takes its edition, version and lints from the workspace.
pub(crate) fn packages(tree: &Tree) -> Vec<Finding> {
    let (manifests, mut findings) = members(tree);
    for manifest in &manifests {
        let expected = expected_name(manifest.folder);
        if manifest.name() != expected {
            findings.push(manifest.finding("name", format!("is to be named {expected}")));
        }
        let lints = manifest.table.get("lints").and_then(|lints| lints.get("workspace"));
        if lints.and_then(Value::as_bool) != Some(true) {
            findings.push(manifest.finding("[package]", "without the workspace's lints"));
        }
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            let value = manifest.table.get("package").and_then(|package| package.get(key));
            let inherited = value.and_then(|value| value.get("workspace"));
            if inherited.and_then(Value::as_bool) != Some(true) {
                let why = format!("`{key}` comes from the workspace");
                findings.push(manifest.finding("[package]", why));
            }
        }
        let description = manifest.table.get("package").and_then(|p| p.get("description"));
        if description.is_none() {
            findings.push(manifest.finding("[package]", "a crate without a description"));
        }
    }
    findings
}

/// `runtime/env` is `penstock-env`; the binary is plain `penstock`.
fn expected_name(folder: &str) -> String {
    match folder {
        "runtime/penstock" => "penstock".to_owned(),
        "packaging/xtask" => "xtask".to_owned(),
        folder => match folder.split_once('/') {
            Some(("runtime", room)) => format!("penstock-{room}"),
            Some(("filters", filter)) => format!("penstock-filter-{filter}"),
            _ => format!("penstock-{}", folder.replace('/', "-")),
        },
    }
}

fn floor(folder: &str) -> Option<u8> {
    FLOORS.iter().find(|(row, _)| is_row(row, folder)).map(|(_, floor)| *floor)
}

/// Whether the table's `row`, which may end in `/*`, is about `folder`.
fn is_row(row: &str, folder: &str) -> bool {
    match row.strip_suffix("/*") {
        Some(parent) => folder.split_once('/').is_some_and(|(first, _)| first == parent),
        None => row == folder,
    }
}

/// The members' manifests, and a finding for each that can't be read.
///
/// A manifest with a `[workspace]` of its own is a root, not a member: ours, and the eBPF
/// program's; a template's (which is data) has its folder named so.
fn members(tree: &Tree) -> (Vec<Manifest<'_>>, Vec<Finding>) {
    let mut manifests = Vec::new();
    let mut findings = Vec::new();
    let renames = renames(tree);
    for file in &tree.files {
        let Some(folder) = file.path.strip_suffix("/Cargo.toml") else { continue };
        if folder.split('/').any(|part| part == "template") {
            continue;
        }
        match file.text().parse::<Table>() {
            Ok(table) if table.contains_key("workspace") => {}
            Ok(table) => {
                let (path, text, renames) = (&file.path, file.text(), renames.clone());
                manifests.push(Manifest { folder, path, text, table, renames });
            }
            Err(error) => findings.push(Finding::new(&file.path, 1, error.to_string())),
        }
    }
    (manifests, findings)
}

/// Dependencies that the root manifest lists under another name than their package's.
fn renames(tree: &Tree) -> Vec<(String, String)> {
    let root = tree.file("Cargo.toml").and_then(|file| file.text().parse::<Table>().ok());
    let workspace = root.as_ref().and_then(|root| root.get("workspace"));
    let shared = workspace.and_then(|table| table.get("dependencies")).and_then(Value::as_table);
    let rename = |(key, value): (&String, &Value)| {
        Some((key.clone(), value.get("package")?.as_str()?.to_owned()))
    };
    shared.into_iter().flatten().filter_map(rename).collect()
}

impl Manifest<'_> {
    fn name(&self) -> &str {
        let name = self.table.get("package").and_then(|package| package.get("name"));
        name.and_then(Value::as_str).unwrap_or_default()
    }

    /// All of them, also those of one target only.
    fn dependencies(&self) -> Vec<Dependency> {
        let targets = self.table.get("target").and_then(Value::as_table);
        let tables = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
        let mut dependencies = Vec::new();
        for table in std::iter::once(&self.table).chain(tables) {
            for (kind, for_tests) in
                [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)]
            {
                let listed = table.get(kind).and_then(Value::as_table);
                for (key, value) in listed.into_iter().flatten() {
                    // `package` renames: what counts is what is compiled.
                    let package = value.get("package").and_then(Value::as_str);
                    let renamed = self.renames.iter().find(|(name, _)| name == key);
                    let package = package.or(renamed.map(|(_, package)| package.as_str()));
                    let name = package.unwrap_or(key).to_owned();
                    dependencies.push(Dependency { name, value: value.clone(), for_tests });
                }
            }
        }
        dependencies
    }

    /// A finding at the first line that begins with `start`.
    fn finding(&self, start: &str, why: impl Into<String>) -> Finding {
        let at = self.text.lines().position(|line| line.trim_start().starts_with(start));
        Finding::new(self.path, at.map_or(1, |index| index + 1), why)
    }
}
