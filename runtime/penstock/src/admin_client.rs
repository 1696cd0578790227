//! Asks a running Penstock over its admin socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;

/// A reload compiles filters; everything else answers at once.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    /// Nobody listens there, or we may not ask.
    #[error("{socket}: {error}; does Penstock run, and may you ask it (group of the socket)?")]
    Connect {
        /// The socket.
        socket: String,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// The connection broke.
    #[error("the answer did not come: {0}")]
    Io(#[from] io::Error),
    /// Something else listens there.
    #[error("the answer is no HTTP")]
    NotHttp,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Sends a request without a body and reads its answer.
pub(crate) fn ask(socket: &Path, method: &str, path: &str) -> Result<Answer, AskError> {
    let refused = |error| AskError::Connect { socket: socket.display().to_string(), error };
    let mut stream = UnixStream::connect(socket).map_err(refused)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    // HTTP/1.0: the answer ends with the connection, and is never chunked (RFC 9112 §6.1).
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    read_answer(&String::from_utf8_lossy(&bytes)).ok_or(AskError::NotHttp)
}

fn read_answer(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let rest = head.strip_prefix("HTTP/1.")?;
    let status = rest.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::{Answer, read_answer};

    #[test]
    fn an_answer_is_a_status_and_what_follows_the_head() {
        let text = "HTTP/1.0 404 Not Found\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(read_answer(text), Some(Answer { status: 404, body: "{}".to_owned() }));
        assert_eq!(read_answer("SSH-2.0-OpenSSH\r\n\r\n"), None);
    }
}
