//! Questions over a connection that stays.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;

use super::ground::peers::PATIENCE;

/// A connection to nginx behind a VIP.
pub fn connect(vip: &str) -> TcpStream {
    TcpStream::connect(format!("{vip}:80")).expect("the VIP answers")
}

/// Asks who is there, over a connection that stays.
pub fn ask(connection: &mut TcpStream) -> Result<String, Error> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(b"GET /who HTTP/1.1\r\nHost: s\r\n\r\n")?;
    let mut answer = Vec::new();
    loop {
        let mut bytes = [0; 1_024];
        let count = connection.read(&mut bytes)?;
        answer.extend_from_slice(&bytes[..count]);
        let text = String::from_utf8_lossy(&answer);
        match text.split_once("\r\n\r\n") {
            Some((_, body)) if body.ends_with('\n') => return Ok(body.to_owned()),
            _ if count == 0 => return Err(ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}
