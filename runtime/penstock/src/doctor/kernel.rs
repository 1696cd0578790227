//! The kernel: its version, and whether it gives us an io_uring.

use std::fs;

use super::report::{Level, Report};

/// The oldest that shards run on.
const OLDEST: (u32, u32) = (6, 1);

pub(crate) fn look(report: &mut Report) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (level, what, advice) = judge_release(release.trim());
    report.put("kernel", level, what, advice);
    let switch = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match penstock_shard::probe() {
        Ok(()) => report.ok("io_uring", "there, and allowed"),
        Err(error) => {
            let advice = advice_on_ring(switch.trim());
            report.put("io_uring", Level::Fail, error.to_string(), advice);
        }
    }
}

fn judge_release(release: &str) -> (Level, String, &'static str) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= OLDEST => {
            (Level::Ok, format!("Linux {release}"), "")
        }
        (Some(Ok(_)), Some(Ok(_))) => {
            (Level::Fail, format!("Linux {release}"), "Penstock needs Linux 6.1 or newer")
        }
        _ => (Level::Unknown, "its version can't be read".to_owned(), "mount /proc"),
    }
}

/// By `kernel.io_uring_disabled` (Linux 6.6 and newer).
fn advice_on_ring(switch: &str) -> &'static str {
    match switch {
        "2" => "sysctl -w kernel.io_uring_disabled=0",
        "1" => "sysctl -w kernel.io_uring_disabled=0, or be of the group kernel.io_uring_group",
        _ => {
            "a container runtime's seccomp profile may block it (Docker's default does): allow \
             io_uring_setup, io_uring_enter and io_uring_register, or run with \
             --security-opt seccomp=unconfined"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Level, advice_on_ring, judge_release};

    #[test]
    fn a_kernel_is_old_by_its_first_two_numbers() {
        for (release, level) in [
            ("6.1.0-25-amd64", Level::Ok),
            ("6.18.5", Level::Ok),
            ("7.0.0-rc1", Level::Ok),
            ("6.0.19", Level::Fail),
            ("5.15.0-1051-aws", Level::Fail),
            ("", Level::Unknown),
            ("next", Level::Unknown),
        ] {
            assert_eq!(judge_release(release).0, level, "{release}");
        }
    }

    #[test]
    fn where_a_switch_blocks_the_ring_it_is_named() {
        assert!(advice_on_ring("2").contains("io_uring_disabled=0"));
        assert!(advice_on_ring("1").contains("io_uring_group"));
        assert!(advice_on_ring("0").contains("seccomp"));
        assert!(advice_on_ring("").contains("seccomp"));
    }
}
