//! The task that orders certificates, one after the other, beside the control loop.

use std::time::Duration;

use super::jobs::{AcmeFailure, Next};
use super::order::order;
use crate::{Control, Handle};

/// How long an order may take, the authority's own checks included.
const ORDER_MAX: Duration = Duration::from_secs(300);

/// After a panic of the control loop: what made it is not ordered over and over.
const PANIC_PAUSE: Duration = Duration::from_secs(600);

/// Orders what is due until the control thread ends.
pub(crate) async fn run(handle: Handle) {
    loop {
        match handle.ask(Control::acme_next).await {
            Ok(Next::Order(work)) => {
                let listener = work.listener.clone();
                // A task of its own: a panic in it costs this order.
                let mut task = tokio::spawn(order(handle.clone(), *work));
                let outcome = match tokio::time::timeout(ORDER_MAX, &mut task).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(error)) => Err(failure("internal", error.to_string())),
                    Err(_) => {
                        task.abort();
                        Err(failure("timeout", format!("no end within {ORDER_MAX:?}")))
                    }
                };
                if handle.ask(move |control| control.acme_done(&listener, outcome)).await.is_err() {
                    tokio::time::sleep(PANIC_PAUSE).await;
                }
            }
            Ok(Next::Wait(wait, wake)) => {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = wake.notified() => {}
                }
            }
            Ok(Next::End) => return,
            // The question made the control loop panic; or all is over, and this with it.
            Err(_) => tokio::time::sleep(PANIC_PAUSE).await,
        }
    }
}

pub(super) fn failure(name: &'static str, detail: String) -> AcmeFailure {
    AcmeFailure { name, detail }
}
