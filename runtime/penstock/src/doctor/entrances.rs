//! Addresses that are listened on: whether they can be had.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use penstock_config::{Config, ListenAddress, ServiceMode, Transport};
use penstock_xdp::Capability;

use super::datapath::is_root;
use super::report::{Level, Report};

/// `runs` says whether Penstock runs here already, with this config.
pub(crate) fn look(config: &Config, runs: bool, report: &mut Report) {
    for Wanted { name, transport, address, foreign } in wanted(config) {
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
        let (level, what, advice) = judge(tried, runs, foreign);
        let kind = if transport == Transport::Udp { "udp " } else { "" };
        report.put("ports", level, format!("{name}: {kind}{address}: {what}"), advice);
    }
    let transparent = config.services.iter().filter(|service| service.transparent);
    for service in transparent {
        // Either is enough to the kernel.
        let held = [Capability::NetAdmin, Capability::NetRaw].map(Capability::held);
        let (level, what) = judge_transparent(held, is_root());
        let advice = match level {
            Level::Ok => "",
            _ => "AmbientCapabilities=CAP_NET_ADMIN in the unit, or --cap-add",
        };
        report.put("capabilities", level, format!("service.{}: {what}", service.name), advice);
    }
}

/// An address that is to be listened on.
struct Wanted {
    /// By whom.
    name: String,
    transport: Transport,
    address: ListenAddress,
    /// It need not be this machine's.
    foreign: bool,
}

fn wanted(config: &Config) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for listener in &config.listeners {
        let (transport, foreign) = (Transport::Tcp, false);
        let of = |one: &ListenAddress| {
            let (name, address) = (format!("listener.{}", listener.name), one.clone());
            Wanted { name, transport, address, foreign }
        };
        wanted.extend(listener.addresses.iter().map(of));
    }
    // What is passed on meets no socket.
    for service in config.services.iter().filter(|one| one.mode == ServiceMode::Terminate) {
        for transport in [Transport::Tcp, Transport::Udp] {
            let of = |address| {
                let (name, foreign) = (format!("service.{}", service.name), service.transparent);
                Wanted { name, transport, address, foreign }
            };
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

fn judge(tried: io::Result<()>, runs: bool, foreign: bool) -> (Level, String, &'static str) {
    let Err(error) = tried else { return (Level::Ok, "free".to_owned(), "") };
    let advice = match error.kind() {
        io::ErrorKind::AddrNotAvailable if foreign => {
            let what = "not this machine's, and need not be: packets have to be led here";
            return (Level::Ok, what.to_owned(), "");
        }
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

/// `held` says of each capability that is enough whether this process has it.
fn judge_transparent(held: [Option<bool>; 2], is_root: bool) -> (Level, &'static str) {
    match held {
        [Some(true), _] | [_, Some(true)] => (Level::Ok, "CAP_NET_ADMIN, to be transparent"),
        [None, _] | [_, None] => {
            (Level::Unknown, "CAP_NET_ADMIN, to be transparent: can't be read")
        }
        // The service may well have what whoever looks has not.
        _ if !is_root => (
            Level::Unknown,
            "CAP_NET_ADMIN, to be transparent: the service needs it, and may have it",
        ),
        _ => (Level::Fail, "CAP_NET_ADMIN is missing, to be transparent"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};

    use super::{Level, judge, judge_transparent};

    #[test]
    fn a_foreign_address_needs_a_capability_and_no_interface() {
        let tried = || Err(io::Error::from(ErrorKind::AddrNotAvailable));
        assert_eq!(judge(tried(), false, true).0, Level::Ok);
        let level = |admin, raw, is_root| judge_transparent([admin, raw], is_root).0;
        assert_eq!(level(Some(true), Some(false), true), Level::Ok);
        assert_eq!(level(Some(false), Some(true), false), Level::Ok);
        assert_eq!(level(Some(false), Some(false), true), Level::Fail);
        assert_eq!(level(Some(false), Some(false), false), Level::Unknown);
        assert_eq!(level(None, Some(false), true), Level::Unknown);
    }

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
            assert_eq!(judge(outcome, runs, false).0, level, "{tried:?} {runs}");
        }
    }
}
