//! Certificates of authorities that are forgotten at once, as files.

use super::{Folder, run};

/// An authority, and certificates that it signed, in a folder.
pub struct Certificates {
    pub folder: Folder,
}

impl Certificates {
    /// Of these names each: a certificate `N.pem` with its key `N.key`, `N` counting from 0, and
    /// all authorities together in `ca.pem`.
    pub fn make(names: &[&str]) -> Certificates {
        let files = Certificates { folder: Folder::new() };
        let mut authorities = String::new();
        for (number, name) in names.iter().enumerate() {
            let dir = files.folder.join(&format!("dev{number}"));
            let path = dir.display().to_string();
            let made = run(&["cert", "dev", name, "--days", "90", "--dir", &path]);
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            authorities += &std::fs::read_to_string(dir.join("ca.pem")).expect("an authority");
            for (from, to) in [("cert.pem", "pem"), ("key.pem", "key")] {
                let to = files.folder.join(&format!("{number}.{to}"));
                std::fs::rename(dir.join(from), to).expect("moved");
            }
        }
        std::fs::write(files.folder.join("ca.pem"), authorities).expect("written");
        files
    }

    /// A path in the folder, as text.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// `tls` of a listener with the first `count` certificates.
    pub fn listener(&self, count: usize, more: &str) -> String {
        let one = |number: usize| {
            let (cert, key) =
                (self.path(&format!("{number}.pem")), self.path(&format!("{number}.key")));
            format!("{{ cert = \"{cert}\", key = \"{key}\" }}")
        };
        let all: Vec<String> = (0..count).map(one).collect();
        format!("tls = {{ certificates = [{}]{more} }}\n", all.join(", "))
    }
}
