//! The unix socket's file: made, looked after, and removed only where it is ours.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::AdminError;

/// Who may connect to the unix socket: its user and its group.
const SOCKET_MODE: u32 = 0o660;

/// The file of a socket that we listen on; removed when this goes, if it is still that one.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    id: FileId,
}

/// Device, inode, and when it was made: an inode may be another file's next.
type FileId = (u64, u64, Option<SystemTime>);

/// What became of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is there.
    Ours,
    /// Somebody removed it: nobody can connect any more.
    Gone,
    /// Another one is there: another process has taken the path.
    Another,
}

impl SocketFile {
    /// Listens at `path`, in place of a socket that nobody answers on.
    ///
    /// # Errors
    /// Somebody answers there, or it can't be had: it may be a file that is no socket.
    pub(crate) fn bind(path: &Path) -> Result<(UnixListener, SocketFile), AdminError> {
        let (listener, id) = bind_at(path)?;
        Ok((listener, SocketFile { path: path.to_owned(), id }))
    }

    /// Listens there again, where the file is gone.
    ///
    /// # Errors
    /// As [`SocketFile::bind`].
    pub(crate) fn renew(&mut self) -> Result<UnixListener, AdminError> {
        let (listener, id) = bind_at(&self.path)?;
        self.id = id;
        Ok(listener)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How it stands with it.
    pub(crate) fn standing(&self) -> Standing {
        match fs::symlink_metadata(&self.path) {
            Ok(facts) if id_of(&facts) == self.id => Standing::Ours,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Standing::Gone,
            _ => Standing::Another,
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.standing() == Standing::Ours {
            // A file that somebody removed meanwhile is gone as well.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind_at(path: &Path) -> Result<(UnixListener, FileId), AdminError> {
    let address = || format!("unix:{}", path.display());
    if UnixStream::connect(path).is_ok() {
        return Err(AdminError::Taken { address: address() });
    }
    let bind = || {
        clear(path)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
        listener.set_nonblocking(true)?;
        Ok((listener, id_of(&fs::symlink_metadata(path)?)))
    };
    bind().map_err(|error| AdminError::Bind { address: address(), error })
}

fn id_of(facts: &Metadata) -> FileId {
    (facts.dev(), facts.ino(), facts.created().ok())
}

/// Removes what a process that was killed left behind: a socket, and nothing else.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(facts) if facts.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => {
            let what = "a file is there that is no socket";
            Err(io::Error::new(io::ErrorKind::AlreadyExists, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{SocketFile, Standing};
    use crate::AdminError;

    #[test]
    fn only_a_socket_makes_room_and_only_our_own_is_removed() {
        let folder = std::env::temp_dir().join(format!("penstock-file-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("admin.sock");
        fs::write(&path, "precious").expect("written");
        let refused = SocketFile::bind(&path).map(drop).expect_err("a file is there");
        assert!(matches!(&refused, AdminError::Bind { .. }), "{refused}");
        assert!(refused.to_string().contains("no socket"), "{refused}");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
        fs::remove_file(&path).expect("removed");
        let (listener, file) = SocketFile::bind(&path).expect("free");
        assert_eq!(file.standing(), Standing::Ours);
        fs::remove_file(&path).expect("removed");
        assert_eq!(file.standing(), Standing::Gone);
        // Another process takes the path: the end of this one leaves it alone.
        let (_other, next) = SocketFile::bind(&path).expect("free again");
        assert_eq!(file.standing(), Standing::Another);
        drop((listener, file));
        assert!(path.exists());
        drop(next);
        assert!(!path.exists());
        let (_listener, mut file) = SocketFile::bind(&path).expect("free");
        fs::remove_file(&path).expect("removed");
        let _listener = file.renew().expect("free again");
        assert_eq!(file.standing(), Standing::Ours);
        drop(file);
        assert!(!path.exists());
        fs::remove_dir_all(&folder).expect("removed");
    }
}
