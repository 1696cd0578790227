//! The demo's stage: a folder of its own with a config, gone when the demo is.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::origins::Origins;

/// A folder with a config and, once the appliance runs, its admin socket.
pub(crate) struct Scene {
    folder: PathBuf,
    config: PathBuf,
}

impl Scene {
    /// Makes the folder and writes the config.
    ///
    /// # Errors
    /// There is no room for temporary files.
    pub(crate) fn set(origins: &Origins) -> io::Result<Scene> {
        let folder = std::env::temp_dir().join(format!("penstock-demo-{}", std::process::id()));
        // Ours alone: a folder that somebody else put there is refused.
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let config = folder.join("penstock.toml");
        let scene = Scene { folder, config };
        fs::write(&scene.config, scene.text(origins))?;
        Ok(scene)
    }

    /// The config's file.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// What the config says. The demo's filters join here.
    fn text(&self, origins: &Origins) -> String {
        let endpoints: Vec<String> =
            origins.addresses().map(|address| format!("\"{address}\"")).collect();
        format!(
            r#"# What `penstock demo` serves from. Change it and send SIGHUP to see a reload.
[runtime]
pin = false
drain = "2s"

[admin]
listen = "unix:{socket}"

[listener.demo]
address = "127.0.0.1:0"
to = "origins"

[cluster.origins]
endpoints = [{endpoints}]
"#,
            socket = self.folder.join("admin.sock").display(),
            endpoints = endpoints.join(", "),
        )
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // What can't be removed is left to the system's cleaning of temporary files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
