//! Which CPUs we may use, as the kernel says it: shards are pinned to those.

use std::fs;

/// The CPUs that this process may run on, in rising order; empty where that is not known.
pub(crate) fn allowed() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map(parse).unwrap_or_default()
}

/// `0-2,5` and the like: see "list format" in cpuset(7).
fn parse(list: &str) -> Vec<usize> {
    let mut cpus = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cpus.extend(first..=last.min(first + CPUS_MAX));
        }
    }
    cpus
}

/// More than the kernel can be built for.
const CPUS_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::{allowed, parse};

    #[test]
    fn lists_are_ranges_and_single_numbers() {
        assert_eq!(parse("\t0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(parse("3"), [3]);
        assert_eq!(parse("x"), [0_usize; 0]);
        assert!(!allowed().is_empty());
    }
}
