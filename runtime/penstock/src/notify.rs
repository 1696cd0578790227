//! Tells systemd that the appliance serves: sd_notify(3), whose protocol is one datagram.
//!
//! Not for other supervisors: they look at `/ready`.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where to, as systemd sets it for a service of `Type=notify`.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Says that all addresses are bound and shards serve. Does nothing where nobody waits for it; a
/// supervisor that can't be told ends the service in time, so that is worth no more than a line.
pub(crate) fn ready(status: &str) {
    let Some(socket) = std::env::var_os(SOCKET) else { return };
    if let Err(error) = send(&socket, &format!("READY=1\nSTATUS={status}")) {
        tracing::warn!(%error, "systemd can't be told that the appliance is ready");
    }
}

fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    // sd_notify(3): a name that begins with @ is in the abstract namespace.
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who listens there receives the message whole.
    fn check(listener: &UnixDatagram, name: &OsStr) {
        send(name, "READY=1\nSTATUS=serves").expect("somebody listens");
        let mut bytes = [0; 64];
        let count = listener.recv(&mut bytes).expect("it was sent");
        assert_eq!(&bytes[..count], b"READY=1\nSTATUS=serves");
    }

    #[test]
    fn a_supervisor_is_told_at_a_path_or_a_name() {
        let path = std::env::temp_dir().join(format!("penstock-notify-{}", std::process::id()));
        check(&UnixDatagram::bind(&path).expect("the path is free"), path.as_os_str());
        std::fs::remove_file(&path).expect("it is ours");

        let name = format!("penstock-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let listener = UnixDatagram::bind_addr(&address).expect("the name is free");
        check(&listener, OsStr::new(&format!("@{name}")));
    }

    #[test]
    fn a_supervisor_that_is_gone_is_an_error() {
        assert!(send(OsStr::new("/nowhere/notify"), "READY=1").is_err());
    }
}
