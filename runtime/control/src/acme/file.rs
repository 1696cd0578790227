//! The folder of ACME's state: `HOST_PORT/account.json`, `HOST_PORT/LISTENER.pem`.
//!
//! Of each authority its own, so that a staging one never stands for the other. A certificate and
//! its key are one file, so that no crash leaves one of them without the other.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use penstock_config::Acme;

/// Where the certificate of a listener is kept.
pub(crate) fn certificate_path(acme: &Acme, listener: &str) -> PathBuf {
    folder(acme).join(format!("{listener}.pem"))
}

/// Where the account with the authority is kept.
pub(super) fn account_path(acme: &Acme) -> PathBuf {
    folder(acme).join("account.json")
}

fn folder(acme: &Acme) -> PathBuf {
    acme.state.join(acme.directory.authority().replace([':', '[', ']'], "_"))
}

/// Writes the file whole or not at all, for nobody but us to read.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let fresh = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}

/// The file's text; `None` where there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{read, write};

    #[test]
    fn what_is_written_is_ours_alone_and_replaces_what_was_there() {
        let name = format!("penstock-acme-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let path = folder.join("a").join("x.pem");
        assert_eq!(read(&path).expect("no folder yet"), None);
        for text in ["first", "second"] {
            write(&path, text).expect("written");
            assert_eq!(read(&path).expect("read").as_deref(), Some(text));
        }
        let mode = |path: &std::path::Path| {
            std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
        };
        assert_eq!((mode(&path), mode(&folder.join("a"))), (0o600, 0o700));
        assert_eq!(std::fs::read_dir(folder.join("a")).expect("a folder").count(), 1);
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
