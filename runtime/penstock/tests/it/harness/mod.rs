//! A Penstock process in a folder of its own, origins, and plain clients.

mod certificates;
mod client;
mod envoy;
mod origin;
mod pebble;
mod process;
mod python;

pub use certificates::Certificates;
pub use client::{Client, Reply, talk};
pub use envoy::{Envoy, Plugin};
pub use origin::{Origin, config_of};
pub use pebble::Pebble;
pub use process::{Folder, Penstock, installed, run, write_config};
pub use python::{PythonServer, python};

use std::time::{Duration, Instant};

/// Longer than anything takes here, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `ready` gives something.
#[track_caller]
pub fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    // Tables of the kernel are filled by a debug build, beside other tests: that takes its time.
    let deadline = Instant::now() + 3 * PATIENCE;
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
