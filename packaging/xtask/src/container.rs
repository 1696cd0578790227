//! `cargo xtask container`: the container image of the release build, as an archive that
//! `docker load`, `podman load` and `ctr image import` take. Needs none of them to be made.
//!
//! One layer with the binary, the C library that it was linked with, the shipped filters and a
//! config to replace; no shell, no package manager. The archive's form: the image specification
//! v1.2 of Docker, "combined image JSON + filesystem changeset format".

mod check;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use serde_json::json;

use crate::deb::architecture;
use crate::files::{create, digest, read, write};
use crate::stage::{self, BINARY, lay};
use crate::workspace::{succeed, target};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Look into the image too: that what it has runs, from it alone. Wants root, for chroot.
    #[arg(long)]
    check: bool,
}

/// Who the process is in the container: nobody whom the host knows.
const USER: u32 = 64_120;
/// Folders that are the user's own: sockets, certificates of an authority, compiled filters.
const WRITABLE: [&str; 4] = ["run/penstock", "var/lib/penstock", "var/cache/penstock", "tmp"];
/// Where a host keeps the authorities that it trusts, and where programs look for them.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let folder = target().join("container");
    let (tree, image) = (folder.join("tree"), folder.join("image"));
    fill(&tree)?;
    stage::empty(&image)?;
    let layer = pack_layer(&tree, &image)?;
    describe(&image, &layer)?;
    let name = format!("penstock-{}-{}.tar", env!("CARGO_PKG_VERSION"), architecture()?);
    let archive = folder.join(name);
    let parts = ["manifest.json", "config.json", "layer.tar"];
    succeed(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&image).args(parts))?;
    if arguments.check {
        check::look_into(&archive)?;
    }
    println!("{}", archive.display());
    Ok(())
}

/// Lays the files out as they will lie in the container.
fn fill(tree: &Path) -> Result<(), String> {
    stage::begin(tree)?;
    let libraries = libraries(&tree.join(BINARY))?;
    let authorities = PathBuf::from(AUTHORITIES);
    let authorities = authorities.is_file().then_some(authorities);
    for file in libraries.into_iter().chain(authorities) {
        let inside = file.strip_prefix("/").map_err(|error| format!("{file:?}: {error}"))?;
        lay(&file, &tree.join(inside), 0o755)?;
    }
    let users = format!("root:x:0:0::/:/\npenstock:x:{USER}:{USER}::/var/lib/penstock:/\n");
    write(&tree.join("etc/passwd"), users.as_bytes())?;
    write(&tree.join("etc/group"), format!("root:x:0:\npenstock:x:{USER}:\n").as_bytes())?;
    for folder in WRITABLE {
        create(&tree.join(folder))?;
    }
    // As systems have it since FHS 3.0: programs that ask for the old name find it.
    symlink("../run", tree.join("var/run")).map_err(|error| format!("var/run: {error}"))
}

/// The shared libraries that the binary was linked with, and their loader.
fn libraries(binary: &Path) -> Result<Vec<PathBuf>, String> {
    let output = Command::new("ldd").arg(binary).output();
    let output = output.map_err(|error| format!("ldd: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || said.contains("not found") {
        return Err(format!("ldd {}: {said}", binary.display()));
    }
    Ok(paths_of(&said))
}

/// The paths in what ldd says: `name => /path (address)`, or the loader's path alone.
fn paths_of(said: &str) -> Vec<PathBuf> {
    let words = said.lines().map(|line| line.split_whitespace());
    words.filter_map(|mut words| words.find(|word| word.starts_with('/'))).map(Into::into).collect()
}

/// Makes the layer: the same bytes from the same tree, whoever makes it.
fn pack_layer(tree: &Path, image: &Path) -> Result<PathBuf, String> {
    let layer = image.join("layer.tar");
    let tar = |verb: &str, owner: u32| {
        let mut command = Command::new("tar");
        command.arg(verb).arg("--file").arg(&layer).arg("--directory").arg(tree);
        command.args(["--sort=name", "--mtime=@0", "--numeric-owner", "--format=gnu"]);
        command.args([format!("--owner=:{owner}"), format!("--group=:{owner}")]);
        command
    };
    let own = WRITABLE.map(|folder| format!("./{folder}"));
    let excluded = own.iter().map(|folder| format!("--exclude={folder}"));
    succeed(tar("--create", 0).args(excluded).arg("."))?;
    succeed(tar("--append", USER).args(&own))?;
    Ok(layer)
}

/// Writes the image's configuration, and the manifest that ties it to its layer.
fn describe(image: &Path, layer: &Path) -> Result<(), String> {
    let version = env!("CARGO_PKG_VERSION");
    let second_ns = 1_000_000_000_u64;
    let config = json!({
        "architecture": architecture()?,
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Entrypoint": ["/usr/bin/penstock"],
            "Cmd": ["run", "/etc/penstock/penstock.toml"],
            "Env": ["CACHE_DIRECTORY=/var/cache/penstock"],
            "ExposedPorts": { "8080/tcp": {} },
            "StopSignal": "SIGTERM",
            // It exits 0 where the appliance answers on its admin socket.
            "Healthcheck": {
                "Test": ["CMD", "/usr/bin/penstock", "status"],
                "Interval": 10 * second_ns,
                "Timeout": 5 * second_ns,
            },
            "Labels": {
                "org.opencontainers.image.title": "penstock",
                "org.opencontainers.image.version": version,
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest(&read(layer)?))] },
    });
    let manifest = json!([{
        "Config": "config.json",
        "RepoTags": [format!("penstock:{version}")],
        "Layers": ["layer.tar"],
    }]);
    write(&image.join("config.json"), config.to_string().as_bytes())?;
    write(&image.join("manifest.json"), manifest.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::paths_of;

    #[test]
    fn libraries_are_the_paths_that_ldd_says() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f5f)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f5f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(paths_of(said), expected.map(PathBuf::from));
    }
}
