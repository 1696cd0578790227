//! The tree that the rules read: every file of the repository, or planted ones in a test.

use std::fmt;
use std::fs;
use std::path::Path;

/// The files of a repository, by path from its root.
#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

/// One file.
pub(crate) struct File {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// Its content; for a text file, UTF-8.
    pub(crate) bytes: Vec<u8>,
}

impl File {
    /// The content as text; empty for what is no UTF-8.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap_or_default()
    }

    /// Whether it is Rust source.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it lies in one of `places`: folders, or files.
    pub(crate) fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }
}

impl Tree {
    /// The repository that this test was compiled from, without what git ignores.
    pub(crate) fn of_this_repository() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent");
        let mut tree = Tree::default();
        tree.walk(root, "");
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        assert!(tree.file("Cargo.toml").is_some(), "{} is no repository", root.display());
        tree
    }

    /// A tree of `(path, text)`.
    pub(crate) fn planted(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| File { path: (*path).to_owned(), bytes: text.as_bytes().to_vec() });
        Tree { files: files.collect() }
    }

    /// The file at `path`.
    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// All Rust source.
    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }

    fn walk(&mut self, folder: &Path, prefix: &str) {
        let entries = fs::read_dir(folder).expect("a folder of the repository can be listed");
        for entry in entries.map(|entry| entry.expect("an entry can be read")) {
            let name = entry.file_name().into_string().expect("names are UTF-8");
            if is_ignored(&name) {
                continue;
            }
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().expect("an entry has a type");
            if kind.is_dir() {
                self.walk(&entry.path(), &format!("{path}/"));
            } else if kind.is_file() {
                let bytes = fs::read(entry.path()).expect("a file can be read");
                self.files.push(File { path, bytes });
            }
        }
    }
}

/// What `.gitignore` names, and git's own: a folder, or in a linked work tree a file.
fn is_ignored(name: &str) -> bool {
    name == ".git" || name == "target" || name.starts_with("target-") || name.ends_with(".log")
}

/// A place where a rule is broken.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// From 1.
    pub(crate) line: usize,
    pub(crate) why: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, why: impl Into<String>) -> Self {
        Finding { path: path.to_owned(), line, why: why.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.why)
    }
}
