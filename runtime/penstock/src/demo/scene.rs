//! The demo's stage: a folder of its own with a config, gone when the demo is.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::origins::Origins;

/// The demo's filters, as they are committed: nothing has to be compiled for WASM.
const MODULES: [(&str, &[u8]); 3] = [
    ("ip-tag.wasm", include_bytes!("../../../../filters/compiled/ip-tag.wasm")),
    ("header-edit.wasm", include_bytes!("../../../../filters/compiled/header-edit.wasm")),
    ("access-metrics.wasm", include_bytes!("../../../../filters/compiled/access-metrics.wasm")),
];

/// What a filter puts into every answer; the load looks for it.
pub(crate) const PROOF: &str = "x-demo-filter: header-edit";

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
        for (name, module) in MODULES {
            fs::write(scene.folder.join(name), module)?;
        }
        fs::write(&scene.config, scene.text(origins))?;
        Ok(scene)
    }

    /// The config's file.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// What the config says.
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
filters = ["tag", "edit", "count"]
to = "origins"

[cluster.origins]
endpoints = [{endpoints}]

# Tells origins where a request comes from.
[filter.tag]
wasm = "ip-tag.wasm"
config = {{ header = "x-ip-tag", tags = {{ home = ["127.0.0.0/8"] }} }}

[filter.edit]
wasm = "header-edit.wasm"
config = {{ response = {{ set = {{ {name} = "{value}" }} }} }}

# Shows up in /metrics as penstock_wasm_...
[filter.count]
wasm = "access-metrics.wasm"
on_error = "allow"
config = {{ by = "cluster" }}
"#,
            socket = self.folder.join("admin.sock").display(),
            endpoints = endpoints.join(", "),
            name = PROOF.split(": ").next().unwrap_or_default(),
            value = PROOF.split(": ").nth(1).unwrap_or_default(),
        )
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // What can't be removed is left to the system's cleaning of temporary files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
