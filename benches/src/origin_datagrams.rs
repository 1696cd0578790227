//! The origin of datagrams: one thread that sends back what comes.

use std::io;
use std::net::UdpSocket;

/// Sends every datagram back, for ever.
///
/// # Errors
/// Only what concerns the socket; an answer that can't be sent is dropped.
pub fn serve(socket: &UdpSocket) -> io::Result<()> {
    let mut bytes = vec![0; 65_535];
    loop {
        let (length, peer) = socket.recv_from(&mut bytes)?;
        let _ = socket.send_to(&bytes[..length], peer);
    }
}
