//! What the datapath of layer 4 needs of this process and its system: capabilities by name, BPF
//! and its file system, TUN devices.

use std::fs::OpenOptions;
use std::io;

use penstock_config::DatapathChoice;
use penstock_xdp::Capability;

use super::report::{Level, Report};

/// What the config asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) choice: DatapathChoice,
    /// Backends of `dsr` are checked through the encapsulation.
    pub(crate) checks: bool,
}

pub(crate) fn look(wanted: Wanted, pins: &std::path::Path, report: &mut Report) {
    let is_root = is_root();
    for (capability, purpose, level) in capabilities(wanted) {
        let held = capability.held();
        let (level, what) = judge(capability, purpose, level, held, is_root);
        let advice = match level {
            Level::Ok => String::new(),
            _ => format!("AmbientCapabilities={capability} in the unit, or --cap-add"),
        };
        report.put("capabilities", level, what, advice);
    }
    if wanted.choice != DatapathChoice::Tun {
        let absent = if wanted.choice == DatapathChoice::Xdp { Level::Fail } else { Level::Warn };
        match penstock_xdp::obstacle(pins) {
            None => report.ok("bpf", format!("programs can be pinned at {}", pins.display())),
            // Said above; behind it nothing can be seen.
            Some(penstock_xdp::XdpError::Capability(_)) => {
                let what = format!("whether programs can be pinned at {}", pins.display());
                let advice = if is_root { "" } else { "look as root" };
                report.put("bpf", Level::Unknown, what, advice);
            }
            Some(error) => {
                let advice = "without it TUN takes the place of XDP, if `datapath` is \"auto\"";
                report.put("bpf", absent, error.to_string(), advice);
            }
        }
    }
    if wanted.checks || wanted.choice != DatapathChoice::Xdp {
        let opened = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
        let (level, what, advice) = judge_tun(opened.map(drop), wanted);
        report.put("tun", level, what, advice);
    }
}

/// Which are needed, what for, and how bad it is where one is missing.
fn capabilities(wanted: Wanted) -> Vec<(Capability, &'static str, Level)> {
    let mut needed = vec![(Capability::NetAdmin, "to attach to interfaces", Level::Fail)];
    let absent = match wanted.choice {
        DatapathChoice::Xdp => Some(Level::Fail),
        DatapathChoice::Auto => Some(Level::Warn),
        DatapathChoice::Tun => None,
    };
    if let Some(level) = absent {
        needed.push((Capability::Bpf, "to load the XDP program", level));
        needed.push((Capability::Perfmon, "to load the XDP program", level));
    }
    if wanted.checks {
        needed.push((Capability::NetRaw, "to check backends on the VIP", Level::Fail));
    }
    needed
}

fn judge(
    capability: Capability,
    purpose: &str,
    absent: Level,
    held: Option<bool>,
    is_root: bool,
) -> (Level, String) {
    match held {
        Some(true) => (Level::Ok, format!("{capability}, {purpose}")),
        None => (Level::Unknown, format!("{capability}, {purpose}: can't be read")),
        // The service may well have what whoever looks has not.
        Some(false) if !is_root => (
            Level::Unknown,
            format!("{capability}, {purpose}: the service needs it, and may have it"),
        ),
        Some(false) => (absent, format!("{capability} is missing, {purpose}")),
    }
}

fn judge_tun(opened: io::Result<()>, wanted: Wanted) -> (Level, String, &'static str) {
    let needed = wanted.checks || wanted.choice == DatapathChoice::Tun;
    match opened {
        Ok(()) => (Level::Ok, "/dev/net/tun is there".to_owned(), ""),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            (Level::Unknown, "/dev/net/tun: this user may not open it".to_owned(), "look as root")
        }
        Err(error) => {
            let level = if needed { Level::Fail } else { Level::Warn };
            let advice = "modprobe tun; for a container, --device /dev/net/tun";
            (level, format!("/dev/net/tun: {error}"), advice)
        }
    }
}

/// Whether this process is root's: `Uid:` of proc_pid_status(5), the effective one.
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.and_then(|line| line.split_whitespace().nth(1)) == Some("0")
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};

    use penstock_config::DatapathChoice::{Auto, Tun, Xdp};
    use penstock_xdp::Capability;

    use super::{Level, Wanted, capabilities, judge, judge_tun};

    #[test]
    fn each_datapath_needs_its_own_capabilities() {
        let names = |choice, checks| -> Vec<String> {
            let needed = capabilities(Wanted { choice, checks });
            needed.iter().map(|(one, _, level)| format!("{one} {level:?}")).collect()
        };
        assert_eq!(names(Tun, false), ["CAP_NET_ADMIN Fail"]);
        assert_eq!(names(Tun, true), ["CAP_NET_ADMIN Fail", "CAP_NET_RAW Fail"]);
        let auto = ["CAP_NET_ADMIN Fail", "CAP_BPF Warn", "CAP_PERFMON Warn"];
        assert_eq!(names(Auto, false), auto);
        let xdp = ["CAP_NET_ADMIN Fail", "CAP_BPF Fail", "CAP_PERFMON Fail"];
        assert_eq!(names(Xdp, false), xdp);
    }

    #[test]
    fn what_whoever_looks_has_not_the_service_may_have() {
        let level = |held, is_root| judge(Capability::Bpf, "", Level::Warn, held, is_root).0;
        assert_eq!(level(Some(true), false), Level::Ok);
        assert_eq!(level(Some(false), true), Level::Warn);
        assert_eq!(level(Some(false), false), Level::Unknown);
        assert_eq!(level(None, true), Level::Unknown);
    }

    #[test]
    fn without_tun_devices_neither_the_fallback_nor_checks_work() {
        let level = |kind: ErrorKind, choice, checks| {
            judge_tun(Err(io::Error::from(kind)), Wanted { choice, checks }).0
        };
        assert_eq!(level(ErrorKind::NotFound, Auto, false), Level::Warn);
        assert_eq!(level(ErrorKind::NotFound, Xdp, true), Level::Fail);
        assert_eq!(level(ErrorKind::NotFound, Tun, false), Level::Fail);
        assert_eq!(level(ErrorKind::PermissionDenied, Tun, false), Level::Unknown);
    }
}
