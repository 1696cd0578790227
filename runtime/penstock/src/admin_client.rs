//! Asks a running Penstock over its admin socket.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use penstock_config::{Admin, Config, Files, ListenAddress, UncheckedFiles};
use penstock_control::{DiskFiles, Source};
use thiserror::Error;

use crate::Failed;
use crate::arguments::Ask;

/// A reload compiles filters; everything else answers at once.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// It listens on this machine, mostly.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Where an admin API listens, and what opens it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// A socket of this machine.
    Unix(PathBuf),
    /// TCP, with the token.
    Tcp(SocketAddr, String),
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    /// Nobody listens there, or we may not ask.
    #[error("{door}: {error}; does Penstock run, and may you ask it (group of the socket)?")]
    Connect {
        /// Where.
        door: String,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// The connection broke.
    #[error("the answer did not come: {0}")]
    Io(#[from] io::Error),
    /// It answers, and not what was asked for.
    #[error("it answers {0}: is its token another one?")]
    Status(u16),
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

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Door::Unix(path) => path.display().fmt(f),
            Door::Tcp(address, _) => address.fmt(f),
        }
    }
}

impl Door {
    /// The one that the command line names.
    pub(crate) fn named(ask: &Ask) -> Result<Door, Failed> {
        let Some(path) = &ask.config else { return Ok(Door::Unix(ask.socket.clone())) };
        let (source, file) = (Source::new(path), path.display().to_string());
        let text = source.read().map_err(|error| Failed::Usage(format!("{file}: {error}")))?;
        let admin = admin_of(&file, &text)?;
        let error =
            |error: io::Error| Failed::Because(format!("{file}: admin.token_file: {error}"));
        Door::of(&admin, &source.files()).map_err(error)
    }

    /// The one that a config has.
    ///
    /// # Errors
    /// The token can't be read.
    pub(crate) fn of(admin: &Admin, files: &DiskFiles) -> io::Result<Door> {
        let address = match &admin.listen {
            ListenAddress::Unix(path) => return Ok(Door::Unix(path.clone())),
            other => other.socket_address().ok_or(io::ErrorKind::InvalidInput)?,
        };
        let token = files.read(admin.token_file.as_deref().unwrap_or(Path::new("")))?;
        let token = String::from_utf8_lossy(token.trim_ascii()).into_owned();
        // Who listens on all addresses is asked on this machine's own.
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Ok(Door::Tcp(SocketAddr::new(ip, address.port()), token))
    }

    /// Sends a request without a body and reads its answer.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Result<Answer, AskError> {
        let refused = |error| AskError::Connect { door: self.to_string(), error };
        match self {
            Door::Unix(socket) => {
                let stream = UnixStream::connect(socket).map_err(refused)?;
                stream.set_read_timeout(Some(ANSWER_MAX))?;
                talk(stream, method, path, "")
            }
            Door::Tcp(address, token) => {
                let stream = TcpStream::connect_timeout(address, CONNECT_MAX).map_err(refused)?;
                stream.set_read_timeout(Some(ANSWER_MAX))?;
                talk(stream, method, path, &format!("Authorization: Bearer {token}\r\n"))
            }
        }
    }
}

/// `[admin]` alone: what is wrong elsewhere in the config is not in the way of who asks.
fn admin_of(file: &str, text: &[u8]) -> Result<Admin, Failed> {
    let read = |text: &str| {
        let table: toml::Table = toml::from_str(text).ok()?;
        let admin = table.into_iter().filter(|(key, _)| key == "admin").collect::<toml::Table>();
        toml::to_string(&admin).ok()
    };
    let alone = std::str::from_utf8(text).ok().and_then(read);
    let text = alone.as_ref().map_or(text, |alone| alone.as_bytes());
    match Config::parse(file, text, &UncheckedFiles) {
        Ok(config) => Ok(config.admin),
        Err(findings) => {
            eprint!("{findings}");
            Err(Failed::Findings)
        }
    }
}

fn talk(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    fields: &str,
) -> Result<Answer, AskError> {
    // HTTP/1.0: the answer ends with the connection, and is never chunked (RFC 9112 §6.1).
    let head = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\n{fields}");
    stream.write_all(format!("{head}Content-Length: 0\r\n\r\n").as_bytes())?;
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
    use super::{Answer, admin_of, read_answer};

    #[test]
    fn an_answer_is_a_status_and_what_follows_the_head() {
        let text = "HTTP/1.0 404 Not Found\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(read_answer(text), Some(Answer { status: 404, body: "{}".to_owned() }));
        assert_eq!(read_answer("SSH-2.0-OpenSSH\r\n\r\n"), None);
    }

    #[test]
    fn the_admin_table_is_read_from_a_config_with_mistakes() {
        let text = b"[admin]\nlisten = \"unix:/a.sock\"\n[listener.web]\nadress = 1\n";
        let admin = admin_of("x", text).expect("it is right");
        assert_eq!(admin.listen.to_string(), "unix:/a.sock");
        assert!(admin_of("x", b"[admin]\nlisten = 5\n").is_err());
        assert!(admin_of("x", b"[admin\n").is_err());
    }
}
