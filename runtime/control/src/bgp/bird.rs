//! BIRD's control socket: one command, one reply.
//!
//! The protocol is `birdc`'s (BIRD 2, `doc/reply_codes`): a reply is lines of a code of four
//! digits, then `-` where more follow or a space in the last; a line that begins with a space goes
//! on with the code before. Codes from 8000 on are errors. Calls wait, for a few seconds at most:
//! they are made on a thread where that hurts nobody.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use thiserror::Error;

/// Why BIRD did not do what it was told.
#[derive(Debug, Error)]
pub(super) enum BirdError {
    /// Nobody answers at its socket.
    #[error("{socket}: {error}")]
    Unreachable { socket: String, error: io::Error },
    /// It answers something else.
    #[error("not a reply of BIRD: {0:?}")]
    Strange(String),
    /// It refuses, and says why.
    #[error("BIRD says: {0}")]
    Refused(String),
}

/// One line of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) code: u16,
    pub(super) text: String,
}

/// A session, as `show protocols` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Protocol {
    pub(super) name: String,
    /// `up`, `start`, `down`.
    pub(super) state: String,
    pub(super) since: String,
    /// `Established`, or why it is not.
    pub(super) info: String,
}

/// Has BIRD read its configuration again.
///
/// # Errors
/// See [`BirdError`]. The old configuration stays where it refuses the new one.
pub(super) fn configure(socket: &Path) -> Result<(), BirdError> {
    let reply = ask(socket, "configure")?;
    match reply.last() {
        Some(last) if ACCEPTED.contains(&last.code) => Ok(()),
        last => Err(BirdError::Refused(last.map_or(String::new(), |last| last.text.clone()))),
    }
}

/// All protocols that BIRD runs.
///
/// # Errors
/// See [`BirdError`].
pub(super) fn protocols(socket: &Path) -> Result<Vec<Protocol>, BirdError> {
    let reply = ask(socket, "show protocols")?;
    Ok(reply.iter().filter(|line| line.code == LISTED).filter_map(protocol).collect())
}

/// `penstock_1 BGP --- up 18:41:57.123 Established`.
fn protocol(line: &Line) -> Option<Protocol> {
    let mut words = line.text.split_whitespace();
    let (name, _kind, _table) = (words.next()?, words.next()?, words.next()?);
    let (state, since) = (words.next()?, words.next()?);
    let info: Vec<&str> = words.collect();
    Some(Protocol {
        name: name.to_owned(),
        state: state.to_owned(),
        since: since.to_owned(),
        info: info.join(" "),
    })
}

fn ask(socket: &Path, command: &str) -> Result<Vec<Line>, BirdError> {
    let unreachable =
        |error| BirdError::Unreachable { socket: socket.display().to_string(), error };
    let talk = || {
        let mut stream = connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream.try_clone()?.take(REPLY_BYTES_MAX));
        // BIRD speaks first.
        let greeting = read_reply(&mut reader)?;
        stream.write_all(format!("{command}\n").as_bytes())?;
        Ok((greeting, read_reply(&mut reader)?))
    };
    let (greeting, reply) = talk().map_err(unreachable)?;
    let reply = greeting.and(reply).map_err(BirdError::Strange)?;
    match reply.iter().find(|line| line.code >= ERRORS) {
        Some(line) => Err(BirdError::Refused(line.text.clone())),
        None => Ok(reply),
    }
}

/// Connects, or fails at once: a connection to a socket whose owner accepts nothing any more waits
/// for ever where it may wait.
pub(super) fn connect(socket: &Path) -> io::Result<UnixStream> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let stream = UnixStream::from(socket_with(family, kind, flags, None)?);
    rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?).map_err(|errno| match errno {
        Errno::AGAIN => io::Error::new(ErrorKind::TimedOut, "it accepts no connections"),
        errno => errno.into(),
    })?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Reads lines up to the last of a reply; the inner error is a line that is none of a reply.
fn read_reply(reader: &mut impl BufRead) -> io::Result<Result<Vec<Line>, String>> {
    let mut lines: Vec<Line> = Vec::new();
    loop {
        let mut text = String::new();
        if reader.read_line(&mut text)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let text = text.trim_end_matches('\n');
        if let (Some(rest), Some(last)) = (text.strip_prefix(' '), lines.last()) {
            lines.push(Line { code: last.code, text: rest.to_owned() });
            continue;
        }
        let parts = text.get(..4).zip(text.get(4..5)).zip(text.get(5..));
        let line = parts.and_then(|((code, mark), rest)| {
            let code = code.parse().ok()?;
            Some((mark, Line { code, text: rest.to_owned() }))
        });
        match line {
            Some(("-", line)) => lines.push(line),
            Some((" ", line)) => {
                lines.push(line);
                return Ok(Ok(lines));
            }
            _ => return Ok(Err(text.to_owned())),
        }
    }
}

/// Reconfigured; in progress; queued behind one in progress.
const ACCEPTED: [u16; 3] = [3, 4, 5];
/// The code of the lines that `show protocols` lists.
const LISTED: u16 = 1002;
/// The first code of an error.
const ERRORS: u16 = 8000;
/// How long BIRD may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longer than the list of protocols of any router that we run on.
const REPLY_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::{Line, Protocol, protocol, read_reply};

    fn lines(text: &str) -> Option<Vec<(u16, String)>> {
        let reply = read_reply(&mut text.as_bytes()).ok()?.ok()?;
        Some(reply.into_iter().map(|Line { code, text }| (code, text)).collect())
    }

    #[test]
    fn a_reply_ends_with_the_line_whose_code_has_a_space_behind_it() {
        let row = |code, text: &str| (code, text.to_owned());
        assert_eq!(lines("0001 BIRD ready.\n"), Some(vec![row(1, "BIRD ready.")]));
        assert_eq!(
            lines("2002-Name Proto\n1002-a BGP\n b BGP\n0000 \nbeyond\n"),
            Some(vec![row(2002, "Name Proto"), row(1002, "a BGP"), row(1002, "b BGP"), row(0, "")]),
        );
        for strange in ["", "hello\n", "12\n", "0001+x\n", "0002-half\n", " first\n"] {
            assert_eq!(lines(strange), None, "{strange:?}");
        }
    }

    #[test]
    fn a_listed_protocol_has_a_state_and_says_why() {
        let listed = |text: &str| protocol(&Line { code: 1002, text: text.to_owned() });
        let session = |state: &str, info: &str| {
            let (name, since) = ("penstock_1".to_owned(), "18:41:57.123".to_owned());
            Some(Protocol { name, state: state.to_owned(), since, info: info.to_owned() })
        };
        let up = "penstock_1 BGP        ---        up     18:41:57.123  Established   ";
        assert_eq!(listed(up), session("up", "Established"));
        let down = "penstock_1 BGP --- start 18:41:57.123 Active Socket: No route to host";
        assert_eq!(listed(down), session("start", "Active Socket: No route to host"));
        assert_eq!(listed("penstock_1 BGP"), None);
    }
}
