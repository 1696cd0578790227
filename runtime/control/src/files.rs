//! Where the config comes from, and the files that it names.

use std::io;
use std::path::{Path, PathBuf};

use penstock_config::{Content, Files};

use crate::clock::Clock;
use crate::tls;

/// The config's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    path: PathBuf,
}

impl Source {
    /// The config at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Source {
        Source { path: path.into() }
    }

    /// The path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that the config names: a relative path starts from the config's folder.
    pub fn files(&self) -> DiskFiles {
        DiskFiles {
            folder: self.path.parent().map(Path::to_owned).unwrap_or_default(),
            judges_dates: false,
        }
    }

    /// The text as it is now.
    ///
    /// # Errors
    /// The file can't be read, or nothing is in it: it was just cut off to be written anew, or a
    /// full disk took no more.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let text = std::fs::read(&self.path)?;
        match text.trim_ascii().is_empty() {
            false => Ok(text),
            true => Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty")),
        }
    }
}

/// Files on disk, beside a config.
#[derive(Clone, Debug)]
pub struct DiskFiles {
    folder: PathBuf,
    judges_dates: bool,
}

impl DiskFiles {
    /// The same files, where a certificate that is over counts as wrong.
    pub(crate) fn judging_dates(self) -> DiskFiles {
        DiskFiles { judges_dates: true, ..self }
    }

    /// Where a path of the config leads.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}

impl Files for DiskFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(self.resolve(path))
    }

    fn examine(&self, content: &Content<'_>) -> Result<(), String> {
        let now = self.judges_dates.then(|| Clock::start().unix().seconds());
        tls::examine(content, now)
    }
}
