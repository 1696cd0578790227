//! `cargo xtask deb`: the Debian package, of the release build and what lies in `packaging`.
//!
//! `dpkg-deb` does the packing, so this runs on Debian and its kin. What a package has where is
//! the table [`FILES`]; its user, service and hooks are in `packaging/debian` and
//! `packaging/systemd`.

mod check;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::files::{read, write};
use crate::stage::{self, BINARY, CONFIG, lay};
use crate::workspace::{root, succeed, target};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Look into the package too: that it has what it should, and that what it has runs.
    #[arg(long)]
    check: bool,
}

/// What lies in the package besides what an image has too: from the tree, to the system.
const FILES: &[(&str, &str)] = &[
    ("packaging/systemd/penstock.service", "lib/systemd/system/penstock.service"),
    ("packaging/decap/penstock-decap.service", "lib/systemd/system/penstock-decap.service"),
    ("README.md", "usr/share/doc/penstock/README.md"),
    ("CHANGELOG.md", "usr/share/doc/penstock/CHANGELOG.md"),
    ("SECURITY.md", "usr/share/doc/penstock/SECURITY.md"),
    ("packaging/debian/copyright", "usr/share/doc/penstock/copyright"),
    // Beside each other as they are in the tree: they name each other.
    ("packaging/README.md", "usr/share/doc/penstock/packaging/README.md"),
    ("packaging/bird/README.md", "usr/share/doc/penstock/packaging/bird/README.md"),
    ("packaging/bird/bird.conf", "usr/share/doc/penstock/packaging/bird/bird.conf"),
    ("packaging/decap/README.md", "usr/share/doc/penstock/packaging/decap/README.md"),
    (
        "packaging/decap/penstock-decap.service",
        "usr/share/doc/penstock/packaging/decap/penstock-decap.service",
    ),
    ("packaging/tproxy/README.md", "usr/share/doc/penstock/packaging/tproxy/README.md"),
    ("packaging/tproxy/tproxy.nft", "usr/share/doc/penstock/packaging/tproxy/tproxy.nft"),
    (
        "packaging/keepalived/keepalived.conf",
        "usr/share/doc/penstock/packaging/keepalived/keepalived.conf",
    ),
];
/// The hooks of dpkg, in `packaging/debian`.
const HOOKS: [&str; 3] = ["postinst", "prerm", "postrm"];

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let tree = target().join("debian/tree");
    fill(&tree)?;
    control(&tree)?;
    let package = package_path()?;
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--root-owner-group", "-Zxz", "--build"]).arg(&tree).arg(&package);
    succeed(&mut pack).map_err(|error| format!("{error} (Debian's package dpkg has it)"))?;
    if arguments.check {
        check::look_into(&package)?;
    }
    println!("{}", package.display());
    Ok(())
}

/// Lays the files out as they will lie on the system.
fn fill(tree: &Path) -> Result<(), String> {
    stage::begin(tree)?;
    for (from, to) in FILES {
        lay(&root().join(from), &tree.join(to), 0o644)?;
    }
    for hook in HOOKS {
        lay(&root().join("packaging/debian").join(hook), &tree.join("DEBIAN").join(hook), 0o755)?;
    }
    Ok(())
}

/// Writes what dpkg has to know of the package.
fn control(tree: &Path) -> Result<(), String> {
    let kilobytes = size_kb(tree)?;
    let (version, architecture) = (env!("CARGO_PKG_VERSION"), architecture()?);
    let glibc =
        newest_glibc(&read(&tree.join(BINARY))?).ok_or("the binary names no version of glibc")?;
    let text = format!(
        "Package: penstock\n\
         Version: {version}\n\
         Architecture: {architecture}\n\
         Maintainer: Penstock <maintainers@penstock.invalid>\n\
         Installed-Size: {kilobytes}\n\
         Depends: libc6 (>= {glibc}), libgcc-s1, adduser, init-system-helpers (>= 1.54)\n\
         Suggests: bird2, keepalived\n\
         Section: net\n\
         Priority: optional\n\
         Description: load-balancer appliance, layer 4 and layer 7\n \
         Balances TCP, UDP, HTTP/1.1, HTTP/2, gRPC and WebSocket over the endpoints of\n \
         clusters, on io_uring shards, one per core, extended by sandboxed WASM filters.\n \
         Passes packets on (NAT, direct server return) by XDP, announced by BGP.\n"
    );
    let folder = tree.join("DEBIAN");
    write(&folder.join("control"), text.as_bytes())?;
    // What an upgrade asks about before it overwrites it.
    write(&folder.join("conffiles"), format!("/{CONFIG}\n").as_bytes())
}

/// As the package is named, beside its tree.
fn package_path() -> Result<PathBuf, String> {
    let name = format!("penstock_{}_{}.deb", env!("CARGO_PKG_VERSION"), architecture()?);
    Ok(target().join("debian").join(name))
}

/// What Debian and container images call the processor that this is compiled for.
pub(crate) fn architecture() -> Result<&'static str, String> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => Err(format!("no package is made for {other}")),
    }
}

/// The newest version of glibc whose symbols the binary asks for: `2.36`.
fn newest_glibc(binary: &[u8]) -> Option<String> {
    const MARK: &[u8] = b"GLIBC_2.";
    let minors = binary.windows(MARK.len()).enumerate().filter(|(_, bytes)| *bytes == MARK);
    let minors = minors.filter_map(|(at, _)| {
        let digits = &binary[at + MARK.len()..];
        let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        str::from_utf8(&digits[..len]).ok()?.parse::<u32>().ok()
    });
    minors.max().map(|minor| format!("2.{minor}"))
}

/// What the files take, in KiB, each rounded up (Debian Policy §5.6.20).
fn size_kb(folder: &Path) -> Result<u64, String> {
    let failed = |error| format!("{}: {error}", folder.display());
    let mut kilobytes = 0;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        kilobytes += match entry.file_type().map_err(failed)?.is_dir() {
            true => 1 + size_kb(&entry.path())?,
            false => entry.metadata().map_err(failed)?.len().div_ceil(1024),
        };
    }
    Ok(kilobytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Component, Path, PathBuf};

    use super::{FILES, newest_glibc};
    use crate::workspace::root;

    /// Where a link of a document leads.
    fn target_of(document: &str, link: &str) -> PathBuf {
        let folder = Path::new(document).parent().expect("it is in a folder");
        let mut target = PathBuf::new();
        for part in folder.join(link).components() {
            match part {
                Component::ParentDir => assert!(target.pop(), "{document}: {link}"),
                part => target.push(part),
            }
        }
        target
    }

    #[test]
    fn what_a_recipe_of_the_package_links_to_is_in_the_package() {
        let mut seen = 0;
        let recipes = FILES
            .iter()
            .filter(|(from, _)| from.starts_with("packaging/") && from.ends_with(".md"));
        for (from, to) in recipes {
            let text = fs::read_to_string(root().join(from)).expect("it is in the tree");
            let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            for link in links.filter(|link| !link.contains("://")) {
                let target = target_of(to, link);
                assert!(FILES.iter().any(|(_, to)| Path::new(to) == target), "{from}: {link}");
                seen += 1;
            }
        }
        assert!(seen > 2, "{seen} links were found");
    }

    #[test]
    fn the_newest_glibc_is_the_one_with_the_largest_number() {
        let check = |bytes: &[u8], expected: Option<&str>| {
            assert_eq!(newest_glibc(bytes).as_deref(), expected);
        };
        check(b"\0GLIBC_2.9\0GLIBC_2.34\0GLIBC_2.2.5\0", Some("2.34"));
        check(b"GLIBC_2.", None);
        check(b"nothing", None);
    }
}
