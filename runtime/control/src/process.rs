//! What the kernel says of our own process.

use std::fs;

/// Bytes of memory that are resident; 0 where there is no /proc.
pub(crate) fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    resident_of(&status)
}

/// Open file descriptors; 0 where there is no /proc.
pub(crate) fn open_files() -> u64 {
    // The folder that is being read is one of them.
    fs::read_dir("/proc/self/fd").map_or(0, |folder| folder.count().saturating_sub(1) as u64)
}

/// `VmRSS:     1234 kB`, see proc_pid_status(5).
fn resident_of(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    number.and_then(|number| number.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::{open_files, resident_bytes, resident_of};

    #[test]
    fn memory_is_read_where_it_is_said() {
        assert_eq!(resident_of("Name:\tx\nVmRSS:\t    1234 kB\nRssAnon: 1 kB\n"), 1234 * 1024);
        assert_eq!(resident_of("Name:\tx\n"), 0);
        assert!(resident_bytes() > 0 && open_files() > 2);
    }
}
