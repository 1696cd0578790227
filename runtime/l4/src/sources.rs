//! Who may send at all: a deny list and a rate for each source, by the longest prefix.
//!
//! Denied sources are dropped before anything is looked up. Rates hold for what goes to a VIP, and
//! not for the answers of backends, which are sources too. A /64 of IPv6 is one source: who has
//! one has all of its addresses.

use crate::conntrack::Tick;
use crate::parse::{Kind, View};
use crate::tables::Tables;
use crate::value::{Address, Bucket, SourceRule, action};

/// The rule for a source, if there are any rules.
#[inline(always)]
pub(crate) fn rule<'t, T: Tables>(tables: &'t T, source: &Address) -> Option<&'t SourceRule> {
    if tables.settings().sources == 0 { None } else { tables.source_rule(source) }
}

/// Whether nothing is taken from the source.
#[inline(always)]
pub(crate) fn is_denied(rule: Option<&SourceRule>) -> bool {
    matches!(rule, Some(rule) if rule.action == action::DENY)
}

/// Whether not everything is taken from the source.
#[inline(always)]
pub(crate) fn is_limited(rule: Option<&SourceRule>) -> bool {
    matches!(rule, Some(rule) if rule.action != action::ALLOW)
}

/// Takes a token for one packet. False when none is left.
///
/// Two processors that take one at the same time may pay with one: a source's rate may be
/// exceeded by as little as they race, and no lock is held.
#[inline(always)]
pub(crate) fn admits<T: Tables>(
    tables: &T,
    rule: Option<&SourceRule>,
    view: &View,
    now: Tick,
) -> bool {
    let Some(rule) = rule else { return true };
    // An ICMP error has the key of its flow, not of who sends it.
    if rule.action != action::RATE || view.kind == Kind::IcmpError {
        return true;
    }
    // At most 2^20 packets of 2^10 units fit into a word.
    let full = u64::from(rule.burst.min(BURST_MAX)) * PACKET;
    let full = full.min(u64::from(u32::MAX));
    let full_now = Bucket { tokens: full as u32, filled: now.0 };
    let Some(cell) = tables.bucket(view.key.source.owner(), full_now) else {
        // No room to count in: not the source's fault.
        return true;
    };
    let mut bucket = cell.get();
    let earned = u64::from(now.since(bucket.filled)) * u64::from(rule.rate);
    let tokens = (u64::from(bucket.tokens) + earned).min(full);
    bucket.filled = now.0;
    let admitted = tokens >= PACKET;
    bucket.tokens = if admitted { tokens - PACKET } else { tokens } as u32;
    cell.set(bucket);
    admitted
}

/// Units of a token that one packet costs.
const PACKET: u64 = 1 << 10;
const BURST_MAX: u32 = 1 << 20;
