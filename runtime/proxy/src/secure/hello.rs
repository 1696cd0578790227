//! The hello that a TLS connection begins with, collected: until it is whole, nothing is decided
//! about the connection, and nobody works for it.

use penstock_env::{Stream, StreamExt};
use penstock_wire::tls_hello::{HELLO_BYTES_MAX, Parsed, parse_client_hello};

use crate::crumbs;

/// Records of a few bytes each would make a short hello long: over this nobody waits for the rest.
const SAID_BYTES_MAX: usize = HELLO_BYTES_MAX + 1024;

/// The peer went away before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// Adds to `said` what comes, until that is a whole hello, or something else, or too much.
///
/// # Errors
/// The peer went away.
pub(crate) async fn collect<S: Stream>(stream: &S, said: &mut Vec<u8>) -> Result<(), Gone> {
    let mut needed = 1;
    loop {
        let received = stream.recv().await.map_err(|_| Gone)?.ok_or(Gone)?;
        crumbs::add(said, &received);
        drop(received);
        if said.len() < needed {
            continue;
        }
        match parse_client_hello(said, &mut Vec::new()) {
            Ok(Parsed::Partial { more }) if said.len() <= SAID_BYTES_MAX => {
                needed = said.len() + more;
            }
            // What is wrong with it others find out.
            _ => return Ok(()),
        }
    }
}
