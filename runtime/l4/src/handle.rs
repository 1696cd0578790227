//! One packet's way: parse, look up, rewrite.

use core::cell::Cell;

use crate::conntrack::{Found, Tick, field, is_reborn, learn, look};
use crate::packet::Packet;
use crate::parse::{Kind, View, parse};
use crate::tables::{Count, Subject, Tables, Tenure};
use crate::value::{Backend, Flow, Vip, VipKey, mode, role};
use crate::word::forget;
use crate::{Cause, Verdict, dsr, icmp, nat, placement, sources, steady};

/// Decides over a packet, and changes it to what is to be sent.
#[inline(always)]
pub fn handle<P: Packet, T: Tables>(packet: &mut P, tables: &T, now: Tick) -> Verdict {
    let bytes = packet.length() as u64;
    if let Some(verdict) = steady::pass(packet, tables, now, bytes) {
        return verdict;
    }
    // The verifier need not walk the long way once for each turn that led to it.
    let bytes = forget(bytes, u64::from(now.0));
    let mut account = Account::NOBODY;
    let verdict = decide(packet, tables, now, &mut account);
    account.settle(tables, verdict, bytes);
    verdict
}

#[inline(always)]
pub(crate) fn decide<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    now: Tick,
    account: &mut Account,
) -> Verdict {
    let mut view = match parse(packet, now) {
        Ok(view) => view,
        Err(verdict) => return verdict,
    };
    let rule = sources::rule(tables, &view.key.source);
    if sources::is_denied(rule) {
        return Verdict::Drop(Cause::SourceDenied);
    }
    match view.kind {
        Kind::Tcp | Kind::Udp | Kind::Echo => {}
        Kind::IcmpError => {
            // From here on its key is that of the flow that it is about.
            if !icmp::look_inside(packet, &mut view) {
                return Verdict::Pass(Cause::NotOurs);
            }
        }
        Kind::Fragment => return fragment(tables, &view, account),
        Kind::Other => return Verdict::Pass(Cause::NotOurs),
    }
    view.forget(now);
    let known = find(tables, &view, now);
    account.vip = known.vip();
    if known.is_from_client() && !sources::admits(tables, rule, &view, now) {
        return Verdict::Drop(Cause::SourceRate);
    }
    let onward = match known {
        Known::Flow(found) if learn(packet, tables, &found, &view, now) => found.onward(),
        Known::Nothing => return Verdict::Pass(Cause::NotOurs),
        // The entry was lost to another flow. Only a client can begin anew.
        Known::Flow(_) if !known.is_from_client() => return Verdict::Pass(Cause::NotOurs),
        Known::Flow(_) | Known::Service(_) => match begin(packet, tables, &view, now, account) {
            Ok(onward) => onward,
            Err(cause) => return Verdict::Drop(cause),
        },
    };
    account.backend = onward.index;
    view.forget(now);
    match onward.flow {
        None => dsr::send(packet, tables, &view, onward.vip, onward.backend),
        Some(flow) => {
            account.role = field!(flow, role);
            if view.kind == Kind::IcmpError {
                icmp::translate(packet, &view, flow, onward.backend)
            } else {
                nat::send(packet, &view, flow, onward.backend)
            }
        }
    }
}

/// Where a packet goes on to.
#[derive(Clone, Copy)]
pub(crate) struct Onward<'t> {
    pub(crate) vip: &'t Vip,
    /// Index of the backend.
    pub(crate) index: u32,
    pub(crate) backend: &'t Backend,
    /// `nat`: what is to be written; without it, the packet is encapsulated.
    pub(crate) flow: Option<&'t Cell<Flow>>,
}

/// What a packet belongs to.
#[derive(Clone, Copy)]
enum Known<'t> {
    /// A flow with an entry.
    Flow(Found<'t>),
    /// A VIP, by number: a new flow.
    Service(u16),
    /// Nothing of ours.
    Nothing,
}

impl Known<'_> {
    #[inline(always)]
    fn is_from_client(&self) -> bool {
        match self {
            Known::Flow(found) => field!(found.flow, role) != role::RETURN,
            Known::Service(_) => true,
            Known::Nothing => false,
        }
    }

    #[inline(always)]
    fn vip(&self) -> u16 {
        match self {
            Known::Flow(found) => field!(found.flow, vip),
            Known::Service(number) => *number,
            Known::Nothing => 0,
        }
    }
}

/// Proven flows first: that is nearly every packet. A packet that begins a later flow with the same
/// ports is a new one.
#[inline(always)]
fn find<'t, T: Tables>(tables: &'t T, view: &View, now: Tick) -> Known<'t> {
    let mut found = look(tables, Tenure::Proven, &view.key, now);
    let mut number = None;
    if found.is_none() {
        let key = &view.key;
        let service = VipKey::new(key.destination, key.destination_port, key.protocol);
        number = tables.vip_number(&service);
        // Answers of backends are for no VIP: only with `nat` are there any.
        if number.is_some() || tables.settings().nat != 0 {
            found = look(tables, Tenure::New, key, now);
        }
    }
    match (found, number) {
        (Some(found), _) if is_reborn(&found, view) => Known::Service(field!(found.flow, vip)),
        (Some(found), _) => Known::Flow(found),
        (None, Some(number)) => Known::Service(number),
        (None, None) => Known::Nothing,
    }
}

/// Places a new flow and enters it; of an ICMP error, finds out where its flow would be.
#[inline(always)]
fn begin<'t, P: Packet, T: Tables>(
    packet: &P,
    tables: &'t T,
    view: &View,
    now: Tick,
    account: &Account,
) -> Result<Onward<'t>, Cause> {
    let is_error = view.kind == Kind::IcmpError;
    if !is_error {
        placement::is_sane(view)?;
    }
    let to = placement::choose(tables, &view.key, account.vip, now)?;
    if to.vip.mode == mode::DSR {
        if !is_error {
            dsr::enter(packet, tables, view, &to)?;
        }
        return Ok(Onward { vip: to.vip, index: to.index, backend: to.backend, flow: None });
    }
    if is_error {
        return Err(Cause::IcmpUnrelated);
    }
    nat::enter(packet, tables, view, &to)?;
    let found = look(tables, Tenure::New, &view.key, now).ok_or(Cause::TableFull)?;
    Ok(found.onward())
}

/// A fragment is dropped where a whole packet might have been ours.
#[inline(always)]
fn fragment<T: Tables>(tables: &T, view: &View, account: &mut Account) -> Verdict {
    match tables.vip_number(&VipKey::address(view.key.destination)) {
        Some(number) => {
            account.vip = number;
            Verdict::Drop(Cause::Fragment)
        }
        None => Verdict::Pass(Cause::NotOurs),
    }
}

/// Whose counters a packet moves.
pub(crate) struct Account {
    pub(crate) vip: u16,
    pub(crate) backend: u32,
    pub(crate) role: u8,
}

/// No backend has this index.
const NO_BACKEND: u32 = u32::MAX;

impl Account {
    /// Those of what belongs to no VIP.
    pub(crate) const NOBODY: Account = Account { vip: 0, backend: NO_BACKEND, role: role::FORWARD };

    /// Counts it: once for the VIP, and once for the backend if there is one.
    #[inline(always)]
    pub(crate) fn settle<T: Tables>(&self, tables: &T, verdict: Verdict, bytes: u64) {
        let count = match verdict {
            Verdict::Pass(cause) | Verdict::Drop(cause) | Verdict::Answer(cause) => {
                Count::Cause(cause)
            }
            Verdict::Send { .. } if self.role == role::RETURN => Count::Return(bytes),
            Verdict::Send { .. } => Count::Forward(bytes),
        };
        tables.count(Subject::Vip(self.vip), count);
        if self.backend != NO_BACKEND {
            tables.count(Subject::Backend(self.backend), count);
        }
    }
}
