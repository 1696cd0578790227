//! The machine's clock: certificates, tokens and logs go by it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::report::{Level, Report};

/// Who keeps a clock right leaves these while it does.
const KEPT_BY: [&str; 3] =
    ["/run/systemd/timesync/synchronized", "/run/chrony/chronyd.pid", "/run/ntpd.pid"];

pub(crate) fn look(report: &mut Report) {
    let binary = std::fs::metadata("/proc/self/exe").and_then(|file| file.modified()).ok();
    let kept_by = KEPT_BY.into_iter().find(|path| Path::new(path).exists());
    let (level, what, advice) = judge(SystemTime::now(), binary, kept_by);
    report.put("clock", level, what, advice);
}

fn judge(
    now: SystemTime,
    binary: Option<SystemTime>,
    kept_by: Option<&str>,
) -> (Level, String, &'static str) {
    // Files that were just written are a little in the future on some file systems.
    let behind = binary.and_then(|binary| binary.duration_since(now).ok());
    match (behind.filter(|time| *time > Duration::from_secs(60)), kept_by) {
        (Some(time), _) => (
            Level::Fail,
            format!("it is {} s behind the time when this binary was written", time.as_secs()),
            "set it, and have it kept (chrony, systemd-timesyncd)",
        ),
        (None, Some(path)) => (Level::Ok, format!("it is kept right ({path})"), ""),
        (None, None) => (
            Level::Unknown,
            "nobody is seen who keeps it right".to_owned(),
            "run chrony or systemd-timesyncd, unless the host of this machine does it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{Level, judge};

    #[test]
    fn a_clock_that_is_behind_its_own_binary_is_wrong() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let later = Some(now + Duration::from_secs(61));
        for (binary, kept_by, level) in [
            (later, Some("/run/x"), Level::Fail),
            (Some(now + Duration::from_secs(60)), Some("/run/x"), Level::Ok),
            (Some(now - Duration::from_secs(60)), None, Level::Unknown),
            (None, Some("/run/x"), Level::Ok),
        ] {
            assert_eq!(judge(now, binary, kept_by).0, level, "{binary:?} {kept_by:?}");
        }
    }
}
