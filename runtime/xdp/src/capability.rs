//! Which capabilities this thread has, so that an error can name the missing one.
//!
//! The kernel says no more than "operation not permitted".

use std::fmt;
use std::fs;

/// A capability that the datapath needs, by its number in `linux/capability.h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Capability {
    /// To attach to interfaces, to make a TUN device.
    NetAdmin = 12,
    /// To receive encapsulated packets (raw sockets).
    NetRaw = 13,
    /// To load a program that reads packets at offsets that it has calculated: against
    /// speculative execution (Spectre v1) the verifier refuses that to all others.
    Perfmon = 38,
    /// To load programs and maps.
    Bpf = 39,
}

impl Capability {
    /// The first of `needed` that this thread has not; none too where that can't be read.
    pub(crate) fn missing(needed: &[Capability]) -> Option<Capability> {
        needed.iter().copied().find(|one| one.held() == Some(false))
    }

    /// Whether this thread has it; nothing where that can't be read.
    pub fn held(self) -> Option<bool> {
        let status = fs::read_to_string("/proc/thread-self/status").ok()?;
        effective(&status).map(|effective| self.is_in(effective))
    }

    fn is_in(self, set: u64) -> bool {
        // Before Linux 5.8 there were only the net's; CAP_SYS_ADMIN still stands for the new.
        let is_new = matches!(self, Capability::Bpf | Capability::Perfmon);
        let admin = is_new && set & 1 << SYS_ADMIN != 0;
        admin || set & 1 << self as u32 != 0
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Capability::NetAdmin => "CAP_NET_ADMIN",
            Capability::NetRaw => "CAP_NET_RAW",
            Capability::Perfmon => "CAP_PERFMON",
            Capability::Bpf => "CAP_BPF",
        })
    }
}

/// The effective set, from `/proc/.../status` (proc_pid_status(5)).
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

const SYS_ADMIN: u32 = 21;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: &str, capability: Capability, expected: Option<bool>) {
        assert_eq!(effective(status).map(|set| capability.is_in(set)), expected);
    }

    #[test]
    fn a_capability_is_a_bit_of_the_effective_set() {
        let both = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000008000001000\n";
        check(both, Capability::Bpf, Some(true));
        check(both, Capability::NetAdmin, Some(true));
        let none = "CapPrm:\t000001ffffffffff\nCapEff:\t0000000000000000\n";
        check(none, Capability::Bpf, Some(false));
        check(none, Capability::NetAdmin, Some(false));
    }

    #[test]
    fn an_administrator_may_load_programs_but_attaches_with_his_own_capability() {
        let admin = "CapEff:\t0000000000200000\n";
        check(admin, Capability::Bpf, Some(true));
        check(admin, Capability::Perfmon, Some(true));
        check(admin, Capability::NetAdmin, Some(false));
    }

    #[test]
    fn what_is_no_status_says_nothing() {
        check("", Capability::Bpf, None);
        check("CapEff:\tmany\n", Capability::Bpf, None);
    }
}
