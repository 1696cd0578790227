//! Compiled modules on disk, so that a start costs 0.4 ms a module and not 0.2 s.
//!
//! A file is found by the digest of the module's bytes, wasmtime's version and the engine's
//! settings, and carries the digest of its own payload. That finds damage, not malice: compiled
//! code is run as it is, so the folder must be writable for nobody but the proxy's own user.

use std::fs::{self, Metadata, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::module::{digest, hex};

/// The compiled form of `wasm`: from the folder if it's there and sound, else made and put there.
/// A folder that can't be used costs time, never a start.
pub(crate) fn compile(
    engine: &wasmtime::Engine,
    wasm: &[u8],
    sha256: &[u8; 32],
    folder: Option<&Path>,
) -> wasmtime::Result<wasmtime::Module> {
    let Some(folder) = folder else {
        return wasmtime::Module::new(engine, wasm);
    };
    let path = folder.join(file_name(engine, sha256));
    match read(&path) {
        Ok(Some(code)) => {
            // SAFETY: `deserialize` runs what it is given. These bytes carry a digest that was
            // checked, lie in a file that only this user could write, and wasmtime itself checks
            // version and settings.
            match unsafe { wasmtime::Module::deserialize(engine, code) } {
                Ok(module) => return Ok(module),
                Err(error) => warn(&path, &format!("{error:#}")),
            }
        }
        Ok(None) => {}
        Err(error) => warn(&path, &error.to_string()),
    }
    let module = wasmtime::Module::new(engine, wasm)?;
    match module.serialize() {
        Ok(code) => {
            let written = write(folder, &path, &code).and_then(|()| prune(folder, &path));
            if let Err(error) = written {
                warn(&path, &error.to_string());
            }
        }
        Err(error) => warn(&path, &format!("{error:#}")),
    }
    Ok(module)
}

/// The name that a module's compiled form has under these settings.
fn file_name(engine: &wasmtime::Engine, sha256: &[u8; 32]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    // Holds wasmtime's version, the target, and every setting that changes the code.
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{}-{:016x}.cwasm", hex(sha256), hasher.finish()).into()
}

/// The file's payload; `None` when there is no file.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = fs::metadata(path)?;
    // proc(5): the folder of a process is its effective user's.
    let owned = metadata.uid() == 0 || metadata.uid() == fs::metadata("/proc/self")?.uid();
    if metadata.mode() & 0o022 != 0 || !owned {
        return Err(io::Error::other("others may write it: not used"));
    }
    let payload_at = MAGIC.len() + 32;
    let sound = bytes.starts_with(MAGIC)
        && bytes.len() > payload_at
        && digest(&bytes[payload_at..]) == bytes[MAGIC.len()..payload_at];
    if !sound {
        return Err(io::Error::other("damaged: not used"));
    }
    bytes.drain(..payload_at);
    Ok(Some(bytes))
}

/// Puts the file there whole or not at all: written beside, then renamed.
fn write(folder: &Path, path: &Path, code: &[u8]) -> io::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    fs::create_dir_all(folder)?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let beside = folder.join(format!(".{}-{count}.tmp", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(MAGIC)?;
            file.write_all(&digest(code))?;
            file.write_all(code)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // Nothing else is known of the file beside; a second failure adds nothing.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Removes what nobody has read for long, and of the rest what goes beyond [`FILES_MAX`]: each
/// version of a module and of wasmtime leaves a file behind. `newest` was written just now.
fn prune(folder: &Path, newest: &Path) -> io::Result<()> {
    let used = |facts: &Metadata| facts.accessed().or_else(|_| facts.modified());
    let now = used(&fs::metadata(newest)?)?;
    let mut kept = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let ours = path.extension().is_some_and(|end| end == "cwasm" || end == "tmp");
        if !ours || path == newest {
            continue;
        }
        // Another process may have been quicker.
        let Ok(last) = fs::metadata(&path).and_then(|facts| used(&facts)) else { continue };
        kept.push((now.duration_since(last).unwrap_or_default(), path));
    }
    kept.sort();
    let fresh = kept.iter().take_while(|(age, _)| *age < UNUSED_MAX).count();
    for (_, path) in kept.drain(fresh.min(FILES_MAX - 1)..) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn warn(path: &Path, error: &str) {
    tracing::warn!(path = %path.display(), error, "compiled filter not cached");
}

/// What a file begins with.
const MAGIC: &[u8] = b"penstock cwasm 1\n";
/// Files that are kept: more than any config has filters.
const FILES_MAX: usize = 1_024;
/// How long a file may lie unread.
const UNUSED_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

#[cfg(test)]
mod tests {
    use std::fs::{self, File, FileTimes};

    use super::{UNUSED_MAX, prune};

    #[test]
    fn what_nobody_reads_goes_and_the_rest_stays() {
        let folder = std::env::temp_dir().join(format!("penstock-prune-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let newest = folder.join("new.cwasm");
        fs::write(&newest, "x").expect("written");
        let now = fs::metadata(&newest).and_then(|facts| facts.modified()).expect("a time");
        for (name, days) in [("old.cwasm", 31), ("young.cwasm", 29), ("old.tmp", 40), ("old", 99)] {
            let file = File::create(folder.join(name)).expect("written");
            let then = now - UNUSED_MAX / 30 * days;
            file.set_times(FileTimes::new().set_accessed(then).set_modified(then)).expect("set");
        }
        prune(&folder, &newest).expect("pruned");
        let left = fs::read_dir(&folder).expect("a folder").flatten();
        let mut left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, ["new.cwasm", "old", "young.cwasm"]);
        fs::remove_dir_all(&folder).expect("removed");
    }
}
