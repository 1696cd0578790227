//! Compiled modules on disk, so that a start costs 0.4 ms a module and not 0.2 s.
//!
//! A file is found by the digest of the module's bytes, wasmtime's version and the engine's
//! settings, and carries the digest of its own payload. That finds damage, not malice: compiled
//! code is run as it is, so the folder must be writable for nobody but the proxy's own user.

use std::fs::{self, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

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
            if let Err(error) = write(folder, &path, &code) {
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
    if metadata.mode() & 0o022 != 0 {
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

fn warn(path: &Path, error: &str) {
    tracing::warn!(path = %path.display(), error, "compiled filter not cached");
}

/// What a file begins with.
const MAGIC: &[u8] = b"penstock cwasm 1\n";
