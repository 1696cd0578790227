//! Where maps and links are pinned, so that they outlive the process.
//!
//! Below a folder of a BPF file system, for each instance:
//!
//! ```text
//! <root>/<instance>/maps-1/SETTINGS ...   the maps, by layout version
//! <root>/<instance>/maps-1-new/           while other ones are made
//! <root>/<instance>/links/eth0            the program on an interface
//! ```
//!
//! The rule: a start adopts maps of its own layout version, sizes included, with all that they
//! know; any others it replaces, and flows are placed anew by Maglev. The program is always
//! replaced, in one step, so that no packet meets an interface without one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;

use crate::XdpError;
use crate::link;
use crate::object::{LAYOUT_VERSION, Shape};

/// The folder of one instance.
pub(crate) struct Pins {
    folder: PathBuf,
}

impl Pins {
    /// Makes the folder where it isn't there yet.
    pub(crate) fn open(root: &Path, instance: &str) -> Result<Self, XdpError> {
        let folder = root.join(instance);
        create(&folder)?;
        if !is_bpf(&folder) {
            // It was made where it is of no use.
            let _ = fs::remove_dir(&folder);
            return Err(XdpError::NoBpfFilesystem(root.to_owned()));
        }
        create(&folder.join(LINKS))?;
        Ok(Pins { folder })
    }

    pub(crate) fn maps(&self) -> PathBuf {
        self.folder.join(format!("maps-{LAYOUT_VERSION}"))
    }

    /// Where maps are made that are to take the place of others.
    pub(crate) fn new_maps(&self) -> PathBuf {
        self.folder.join(format!("maps-{LAYOUT_VERSION}-new"))
    }

    pub(crate) fn link(&self, interface: &str) -> PathBuf {
        // A BPF file system refuses names with a dot, and VLANs have one.
        self.folder.join(LINKS).join(interface.replace('.', DOT))
    }

    /// The interfaces that have a link.
    pub(crate) fn linked(&self) -> Result<Vec<String>, XdpError> {
        let mut names = Vec::new();
        for path in entries(&self.folder.join(LINKS))? {
            names.extend(path.file_name().map(|name| name.to_string_lossy().replace(DOT, ".")));
        }
        names.sort();
        Ok(names)
    }

    /// Whether the pinned maps are all there and of these shapes.
    pub(crate) fn fit(&self, shapes: &[Shape]) -> bool {
        shapes.iter().all(|shape| {
            let Ok(info) = MapInfo::from_pin(self.maps().join(shape.name)) else { return false };
            info.map_type().is_ok_and(|kind| kind == shape.kind)
                && info.key_size() == shape.key_bytes
                && info.value_size() == shape.value_bytes
                && info.max_entries() == shape.entries_max
        })
    }

    /// Puts the new maps in the place of all others.
    pub(crate) fn adopt_new(&self) -> Result<(), XdpError> {
        self.remove_maps(Some(&self.new_maps()))?;
        let (from, to) = (self.new_maps(), self.maps());
        fs::rename(&from, &to).map_err(|error| XdpError::Pin { path: to, error })
    }

    /// Removes all maps, but those in `kept`.
    pub(crate) fn remove_maps(&self, kept: Option<&Path>) -> Result<(), XdpError> {
        for path in entries(&self.folder)? {
            let is_maps =
                path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("maps-"));
            if is_maps && Some(&*path) != kept {
                remove_all(&path)?;
            }
        }
        Ok(())
    }

    /// Removes the folder if there is nothing in it: a start that failed leaves nothing.
    pub(crate) fn remove_if_empty(&self) {
        // Each refuses when there is something in it, which is then as it was.
        let _ = fs::remove_dir(self.folder.join(LINKS));
        let _ = fs::remove_dir(&self.folder);
    }

    /// Removes links and maps, and with the last of them the program.
    pub(crate) fn remove(&self) -> Result<(), XdpError> {
        for link in entries(&self.folder.join(LINKS))? {
            remove_link(&link)?;
        }
        remove_all(&self.folder)
    }

    /// The folder of an instance that may not be there.
    pub(crate) fn existing(root: &Path, instance: &str) -> Option<Self> {
        let folder = root.join(instance);
        folder.is_dir().then_some(Pins { folder })
    }
}

/// Whether `root`, or where it would be made, is on a BPF file system.
pub(crate) fn can_pin(root: &Path) -> bool {
    root.ancestors().find(|folder| folder.is_dir()).is_some_and(is_bpf)
}

pub(crate) fn create(folder: &Path) -> Result<(), XdpError> {
    fs::create_dir_all(folder).map_err(|error| XdpError::Pin { path: folder.to_owned(), error })
}

/// Takes a link off its interface and removes its pin.
pub(crate) fn remove_link(pin: &Path) -> Result<(), XdpError> {
    link::detach(pin);
    remove_all(pin)
}

/// Removes a file, or a folder with what is in it; what is gone already is all right.
pub(crate) fn remove_all(path: &Path) -> Result<(), XdpError> {
    let failed = |error| XdpError::Pin { path: path.to_owned(), error };
    let removed = if path.is_dir() {
        for entry in entries(path)? {
            remove_all(&entry)?;
        }
        fs::remove_dir(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// What is in a folder; nothing where there is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, XdpError> {
    let failed = |error| XdpError::Pin { path: folder.to_owned(), error };
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|one| one.path()).map_err(failed)).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

/// Whether the folder lies on a BPF file system (statfs(2)).
fn is_bpf(folder: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(folder.as_os_str().as_bytes()) else { return false };
    let mut status = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: a string with its end, and room for what the call fills in.
    let failed = unsafe { libc::statfs(path.as_ptr(), status.as_mut_ptr()) } != 0;
    // SAFETY: filled in when the call did not fail.
    !failed && unsafe { status.assume_init() }.f_type == libc::BPF_FS_MAGIC
}

const LINKS: &str = "links";
const DOT: &str = "%2E";
