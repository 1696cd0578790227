//! How many connections this machine has room for.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use penstock_proxy::Capacity;

/// What a connection takes at most, about, while all of them are there: one that has sent half of
/// a ClientHello or of a TLS record 23 KiB, one of HTTP/2 whose request waits 27, one that asks for
/// much and reads nothing of it 29, once memory for receiving is short. What shards have budgets
/// for comes on top: large heads, windows that grew, further streams of HTTP/2.
const CONNECTION_BYTES: u64 = 32 * 1024;

/// Room for connections where `files` may be open: 80 % of what descriptors and memory allow. The
/// rest is for listeners, rings, files, and upstream connections of requests under way.
pub(crate) fn measure(files: u64) -> Arc<Capacity> {
    let room = files.min(memory_bytes() / CONNECTION_BYTES);
    let connections = u32::try_from(room / 5 * 4).unwrap_or(u32::MAX).max(1);
    // Std's own keys come from the kernel.
    Capacity::new(connections, RandomState::new().build_hasher().finish())
}

/// The machine's memory, or what the control groups that we are in leave us of it.
fn memory_bytes() -> u64 {
    let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    let group = fs::read_to_string("/proc/self/cgroup").ok();
    let limit = group.as_deref().and_then(group_of).and_then(|group| {
        limit_of(group, |path| fs::read_to_string(Path::new("/sys/fs/cgroup").join(path)).ok())
    });
    total.into_iter().chain(limit).min().unwrap_or(u64::MAX)
}

/// `MemTotal:  16384 kB`, see proc_meminfo(5).
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// `0::/system.slice/penstock.service`, see cgroups(7); version 2 alone.
fn group_of(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::/"))
}

/// The smallest `memory.max` of a group and all those above it; none where each says `max`.
fn limit_of(group: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let limits = Path::new(group).ancestors().filter_map(|path| {
        let text = read(&path.join("memory.max"))?;
        text.trim().parse::<u64>().ok()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{group_of, limit_of, measure, memory_bytes, total_of};

    #[test]
    fn the_nearest_limit_counts() {
        assert_eq!(total_of("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total_of("MemFree: 1 kB\n"), None);
        assert_eq!(group_of("1:name=x:/y\n0::/a/b\n"), Some("a/b"));
        let files = [("a/b/memory.max", "max\n"), ("a/memory.max", "512\n"), ("memory.max", "9\n")];
        let read = |path: &Path| {
            let file = files.iter().find(|(name, _)| Path::new(name) == path);
            file.map(|(_, text)| (*text).to_owned())
        };
        assert_eq!(limit_of("a/b", read), Some(9));
        assert_eq!(limit_of("", read), Some(9));
        assert_eq!(limit_of("a/b", |_| Some("max".to_owned())), None);
    }

    #[test]
    fn four_of_five_descriptors_are_connections() {
        assert!(memory_bytes() > 64 << 20, "{}", memory_bytes());
        assert_eq!(measure(1_000).connections_auto, 800);
        assert_eq!(measure(1).connections_auto, 1);
    }
}
