//! TLS for checks: the cluster's own, verified as for requests.

use std::future::Future;
use std::net::IpAddr;

use penstock_tls::{Connector, Received, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::check::{Plain, text};

/// What may wait between the two sides.
const BUFFER_BYTES: usize = 16 * 1024;

/// Shakes hands over `stream`. Gives what to speak over, and what has to run beside it: it ends
/// only if the session fails, and says why.
///
/// # Errors
/// Why there is no session.
pub(super) async fn open(
    connector: &Connector,
    address: Option<IpAddr>,
    mut stream: Box<dyn Plain>,
    http2: bool,
) -> Result<(DuplexStream, impl Future<Output = String>), String> {
    let mut session = connector.dialer().begin(address).map_err(text)?;
    let (mut plain, mut out, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let received = session.receive(&bytes, &mut plain, &mut out);
        // An alert goes out, too.
        stream.write_all(&out).await.map_err(text)?;
        out.clear();
        match received.map_err(text)? {
            Received::Handshaking => {}
            Received::Open => break,
            Received::Closed => return Err("closed in the TLS handshake".to_owned()),
        }
        bytes.clear();
        if stream.read_buf(&mut bytes).await.map_err(text)? == 0 {
            return Err("closed in the TLS handshake".to_owned());
        }
    }
    // RFC 9113 §3.3: in TLS, ALPN has to agree on it.
    if http2 && session.protocol() != Some(b"h2") {
        return Err("TLS did not agree on HTTP/2".to_owned());
    }
    let (ours, theirs) = duplex(BUFFER_BYTES);
    let carrying = async move {
        match carry(session, stream, theirs, plain).await {
            Err(reason) => reason,
            // What came before the end has still to be read, and is behind it.
            Ok(()) => std::future::pending().await,
        }
    };
    Ok((ours, carrying))
}

/// Seals what goes out and opens what comes in, until either side ends.
async fn carry(
    mut session: Session,
    mut sealed: Box<dyn Plain>,
    mut open: DuplexStream,
    mut plain: Vec<u8>,
) -> Result<(), String> {
    let (mut from_them, mut from_us) = (Vec::new(), Vec::new());
    loop {
        open.write_all(&plain).await.map_err(text)?;
        plain.clear();
        let mut out = Vec::new();
        tokio::select! {
            read = sealed.read_buf(&mut from_them) => {
                if read.map_err(text)? == 0 {
                    return Ok(());
                }
                let received = session.receive(&from_them, &mut plain, &mut out);
                from_them.clear();
                received.map_err(text)?;
            }
            read = open.read_buf(&mut from_us) => {
                if read.map_err(text)? == 0 {
                    return Ok(());
                }
                session.seal(&from_us, &mut out).map_err(text)?;
                from_us.clear();
            }
        }
        sealed.write_all(&out).await.map_err(text)?;
    }
}
