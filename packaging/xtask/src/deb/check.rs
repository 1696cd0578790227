//! What must hold of a finished package, found out by unpacking it and running what is in it.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::FILES;
use crate::stage::{self, BINARY, CONFIG};
use crate::workspace::{succeed, target};

/// The services of the package.
const UNITS: [&str; 2] = ["penstock.service", "penstock-decap.service"];
/// Where it is installed, services are held to what it knows.
const VERIFIER: &str = "systemd-analyze";

/// Unpacks the package and tries it, without installing anything.
pub(super) fn look_into(package: &Path) -> Result<(), String> {
    let folder = target().join("debian/unpacked");
    stage::empty(&folder)?;
    succeed(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&folder))?;
    let files: Vec<&str> = FILES.iter().map(|(_, to)| *to).chain([BINARY, CONFIG]).collect();
    stage::is_whole(&folder, &files)?;
    succeed(Command::new(folder.join(BINARY)).arg("version"))?;
    succeed(Command::new(folder.join(BINARY)).arg("check").arg(folder.join(CONFIG)))?;
    UNITS.iter().try_for_each(|name| unit(&folder, name))
}

/// The unit says nothing that systemd does not know. Its paths are those of the installed system,
/// so it is read with that at its root.
fn unit(folder: &Path, name: &str) -> Result<(), String> {
    let unit = folder.join("lib/systemd/system").join(name);
    let text = fs::read_to_string(&unit).map_err(|error| format!("{}: {error}", unit.display()))?;
    let here =
        text.replace("/usr/bin/penstock", &folder.join("usr/bin/penstock").to_string_lossy());
    let copy = target().join("debian").join(name);
    fs::write(&copy, here).map_err(|error| format!("{}: {error}", copy.display()))?;
    let output = match Command::new(VERIFIER).arg("verify").arg(&copy).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: {VERIFIER} is not installed, {name} is not verified");
            return Ok(());
        }
        Err(error) => return Err(format!("{VERIFIER}: {error}")),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    // It verifies what the unit depends on, too: only its own lines count.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains(name)).collect();
    match ours.is_empty() {
        true => Ok(()),
        false => Err(format!("{name}: {}", ours.join("; "))),
    }
}
