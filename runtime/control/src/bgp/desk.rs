//! The task that talks to BIRD, beside the control loop.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::bird;
use super::state::{Heard, Next, Work};
use crate::{Control, Handle};

/// After a panic of the control loop: what made it is not done over and over.
const PANIC_PAUSE: Duration = Duration::from_secs(60);

/// Does what is to be done until the control thread ends.
pub(crate) async fn run(handle: Handle) {
    loop {
        match handle.ask(Control::bgp_next).await {
            Ok(Next::Tell(work)) => {
                let told = blocking(move || tell(&work).map(|()| work)).await;
                let _ = handle.ask(move |control| control.bgp_told(told)).await;
            }
            Ok(Next::Listen(socket)) => {
                let heard = blocking(move || {
                    bird::protocols(&socket).map(Heard).map_err(|error| error.to_string())
                });
                let heard = heard.await;
                let _ = handle.ask(move |control| control.bgp_heard(heard)).await;
            }
            Ok(Next::Wait(wait, wake)) => {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = wake.notified() => {}
                }
            }
            // The question made the control loop panic; or all is over, and this with it.
            Err(_) => tokio::time::sleep(PANIC_PAUSE).await,
        }
    }
}

/// Does something that waits, on a thread where nobody else does.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}

/// Writes the file and has BIRD read it.
///
/// # Errors
/// A sentence that says what failed. The file may be written all the same: BIRD reads it when it
/// starts.
pub(super) fn tell(work: &Work) -> Result<(), String> {
    write(&work.include, &work.text)
        .map_err(|error| format!("{}: {error}", work.include.display()))?;
    bird::configure(&work.socket).map_err(|error| error.to_string())
}

/// Replaces the file whole: BIRD may read it at any time.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    fs::write(&draft, text)?;
    fs::rename(&draft, path)
}
