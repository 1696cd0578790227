//! Addresses that are listened on: whether they can be had.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use penstock_config::{Config, ListenAddress, ServiceMode, Transport};

use super::report::{Level, Report};

/// `runs` says whether Penstock runs here already, with this config.
pub(crate) fn look(config: &Config, runs: bool, report: &mut Report) {
    for (name, transport, address) in wanted(config) {
        let tried = match (&address, transport) {
            (ListenAddress::Unix(path), _) => folder_of(path),
            (address, Transport::Tcp) => {
                let ip = address.socket_address().ok_or(io::ErrorKind::InvalidInput.into());
                ip.and_then(TcpListener::bind).map(drop)
            }
            (address, Transport::Udp) => {
                let ip = address.socket_address().ok_or(io::ErrorKind::InvalidInput.into());
                ip.and_then(UdpSocket::bind).map(drop)
            }
        };
        let (level, what, advice) = judge(tried, runs);
        let kind = if transport == Transport::Udp { "udp " } else { "" };
        report.put("ports", level, format!("{name}: {kind}{address}: {what}"), advice);
    }
}

/// What is to be listened on, and by whom.
fn wanted(config: &Config) -> Vec<(String, Transport, ListenAddress)> {
    let mut wanted = Vec::new();
    for listener in &config.listeners {
        let of = |one: &ListenAddress| {
            (format!("listener.{}", listener.name), Transport::Tcp, one.clone())
        };
        wanted.extend(listener.addresses.iter().map(of));
    }
    // What is passed on meets no socket.
    for service in config.services.iter().filter(|one| one.mode == ServiceMode::Terminate) {
        for transport in [Transport::Tcp, Transport::Udp] {
            let of = |one| (format!("service.{}", service.name), transport, one);
            wanted.extend(service.addresses(transport).map(of));
        }
    }
    wanted
}

fn folder_of(path: &Path) -> io::Result<()> {
    match path.parent().is_some_and(Path::is_dir) {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::NotFound, "its folder is missing")),
    }
}

fn judge(tried: io::Result<()>, runs: bool) -> (Level, String, &'static str) {
    let Err(error) = tried else { return (Level::Ok, "free".to_owned(), "") };
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse if runs => {
            return (Level::Ok, "taken, and Penstock runs".to_owned(), "");
        }
        io::ErrorKind::AddrInUse => "`ss -lntup` shows who has it: stop that, or take another port",
        io::ErrorKind::AddrNotAvailable => "no interface has the address: give it to one",
        io::ErrorKind::PermissionDenied => {
            let advice = "ports below 1024 need CAP_NET_BIND_SERVICE: \
                          AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit";
            return (Level::Unknown, "this user may not take it".to_owned(), advice);
        }
        io::ErrorKind::NotFound => "make it: RuntimeDirectory=penstock in the unit",
        _ => "",
    };
    (Level::Fail, error.to_string(), advice)
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};

    use super::{Level, judge};

    #[test]
    fn a_port_is_free_or_ours_or_in_the_way() {
        for (tried, runs, level) in [
            (None, false, Level::Ok),
            (Some(ErrorKind::AddrInUse), true, Level::Ok),
            (Some(ErrorKind::AddrInUse), false, Level::Fail),
            (Some(ErrorKind::AddrNotAvailable), true, Level::Fail),
            (Some(ErrorKind::PermissionDenied), false, Level::Unknown),
            (Some(ErrorKind::NotFound), false, Level::Fail),
        ] {
            let outcome = tried.map_or(Ok(()), |kind| Err(io::Error::from(kind)));
            assert_eq!(judge(outcome, runs).0, level, "{tried:?} {runs}");
        }
    }
}
