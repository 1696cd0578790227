//! The limits of a process that are met first: locked memory and open files.

use std::fs;

use super::report::{Level, Report};

/// What a shard's rings may be charged with.
const SHARD_BYTES: u64 = 512 * 1024;
/// Below so many files an appliance is soon full.
const FILES_FEW: u64 = 16_384;

pub(crate) fn look(shards: usize, report: &mut Report) {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    for (level, what, advice) in judge(&text, shards as u64) {
        report.put("limits", level, what, advice);
    }
}

/// The hard limits count: the soft ones are raised to them at the start.
fn judge(text: &str, shards: u64) -> [(Level, String, &'static str); 2] {
    let unread = |of: &str| (Level::Unknown, format!("{of} can't be read"), "mount /proc");
    let locked = match hard(text, "Max locked memory") {
        None => unread("the limit of locked memory"),
        Some(bytes) => {
            let what = format!("locked memory: {}", in_words(bytes, " bytes"));
            let level = if bytes >= SHARD_BYTES * shards {
                Level::Ok
            } else if bytes >= SHARD_BYTES {
                Level::Warn
            } else {
                Level::Fail
            };
            let advice =
                "LimitMEMLOCK=infinity in the unit, or --ulimit memlock=-1 for a container";
            (level, what, if level == Level::Ok { "" } else { advice })
        }
    };
    let files = match hard(text, "Max open files") {
        None => unread("the limit of open files"),
        Some(files) => {
            // Each has two sockets, and four of five descriptors are theirs.
            let room = in_words(files.saturating_mul(2) / 5, "");
            let what = format!("open files: {}, for {room} connections", in_words(files, ""));
            let level = if files < FILES_FEW { Level::Warn } else { Level::Ok };
            let advice = "LimitNOFILE=1048576 in the unit, or --ulimit nofile=1048576";
            (level, what, if level == Level::Ok { "" } else { advice })
        }
    };
    [locked, files]
}

/// A hard limit of proc_pid_limits(5).
fn hard(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn in_words(number: u64, unit: &str) -> String {
    if number >= u64::MAX / 5 { "unlimited".to_owned() } else { format!("{number}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::{Level, judge};

    #[track_caller]
    fn check(locked: &str, files: &str, expected: [Level; 2]) {
        let text = format!(
            "Limit                     Soft Limit           Hard Limit           Units\n\
             Max open files            1024                 {files}              files\n\
             Max locked memory         65536                {locked}              bytes\n"
        );
        assert_eq!(judge(&text, 4).map(|(level, ..)| level), expected, "{locked} {files}");
    }

    #[test]
    fn hard_limits_count_and_locked_memory_is_for_each_shard() {
        check("unlimited", "1048576", [Level::Ok, Level::Ok]);
        check("2097152", "unlimited", [Level::Ok, Level::Ok]);
        check("2097151", "4096", [Level::Warn, Level::Warn]);
        check("65536", "1048576", [Level::Fail, Level::Ok]);
        assert!(judge("", 1).iter().all(|(level, ..)| *level == Level::Unknown));
    }
}
