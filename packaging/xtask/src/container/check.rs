//! What must hold of a finished image, found out by unpacking it and serving from it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{USER, WRITABLE};
use crate::files::{digest, read};
use crate::stage::{self, BINARY, CONFIG};
use crate::workspace::{succeed, target};

/// Unpacks the image and runs it from there, as its user and with nothing else of this machine.
pub(super) fn look_into(archive: &Path) -> Result<(), String> {
    let (parts, tree) = (target().join("container/parts"), target().join("container/unpacked"));
    stage::empty(&parts)?;
    stage::empty(&tree)?;
    let unpack = |archive: &Path, into: &Path| {
        succeed(Command::new("tar").arg("-xpf").arg(archive).arg("-C").arg(into))
    };
    unpack(archive, &parts)?;
    let config = String::from_utf8_lossy(&read(&parts.join("config.json"))?).into_owned();
    if !config.contains(&digest(&read(&parts.join("layer.tar"))?)) {
        return Err("the image's configuration is of another layer".to_owned());
    }
    unpack(&parts.join("layer.tar"), &tree)?;
    stage::is_whole(&tree, &[BINARY, CONFIG, "etc/passwd"])?;
    for folder in WRITABLE {
        if !tree.join(folder).is_dir() {
            return Err(format!("{folder} is missing"));
        }
    }
    serve(&tree)
}

/// Starts what the image starts, and waits until it says that it serves.
fn serve(tree: &Path) -> Result<(), String> {
    let inside = |arguments: &[&str]| {
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={USER}:{USER}")).arg(tree).arg("/usr/bin/penstock");
        command.args(arguments);
        command
    };
    succeed(&mut inside(&["check", "/etc/penstock/penstock.toml"]))?;
    let mut run = inside(&["run", "/etc/penstock/penstock.toml"]);
    let started = run.stderr(Stdio::piped()).spawn();
    let mut child = started.map_err(|error| format!("chroot: {error}"))?;
    let served = wait_until_it_serves(&mut child)
        .and_then(|()| succeed(inside(&["status"]).stdout(Stdio::null())));
    // It is ours. Told to end, it ends by itself.
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let ended = child.wait().map_err(|error| format!("wait: {error}"))?;
    served?;
    match ended.success() {
        true => Ok(()),
        false => Err(format!("the container's process ended with {ended}")),
    }
}

/// Reads its log until the last line of a start; the log's end is the process's.
fn wait_until_it_serves(child: &mut Child) -> Result<(), String> {
    let mut said = String::new();
    let log = child.stderr.as_mut().ok_or("its log is not piped")?;
    for line in BufReader::new(log).lines() {
        let line = line.map_err(|error| format!("its log: {error}"))?;
        if line.contains("the admin API listens") {
            return Ok(());
        }
        said.push_str(&line);
        said.push('\n');
    }
    Err(format!("it ended before it served:\n{said}"))
}
