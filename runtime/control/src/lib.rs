//! The control thread: reads the config, builds the Snapshots that shards serve from, answers
//! who asks about them, and ends the process in good order.
//!
//! It sees no shard: whoever runs some implements [`Shards`]. Nothing of the data path waits
//! for this thread; if it stalls or panics, traffic goes on with the last good Snapshot.
//!
//! To find your way: `thread` is the loop and `handle` how others ask it; [`Control`] is what it
//! owns. `reload` puts a config in force, of what `filters`, `tls` and `layer4` make of it;
//! `rehearsal` only tries one. `checks` asks endpoints and `health` tells what came of it. `acme`
//! and `bgp` are tasks beside the loop, each with a desk that asks it. `views`, `scrape` and
//! `pulse` are what is shown, and `ending` is the way out.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "the control side lives in real time")]

mod acme;
mod bgp;
mod checks;
mod clock;
mod control;
mod ending;
mod files;
mod filter_views;
mod filters;
mod handle;
mod health;
mod layer4;
mod memory;
mod process;
mod pulse;
mod rehearsal;
mod reload;
mod scrape;
mod scrape_filters;
mod shards;
#[cfg(test)]
mod tests;
mod thread;
mod tls;
mod views;

pub use acme::{AcmeStanding, AcmeState, AcmeView};
pub use bgp::{BgpView, FleetView, SessionView};
pub use control::{Boot, BootError, Control};
pub use ending::Outcome;
pub use files::{DiskFiles, Source};
pub use filter_views::{FilterView, VersionView};
pub use filters::BadFilter;
pub use handle::{Gone, Handle};
pub use layer4::{
    BackendView, BadPlan, Change, Datapath, DatapathError, DatapathOptions, Datapaths, Detour,
    FlowView, FlowsView, Guide, InterfaceFacts, NoDatapaths, PacketsView, Reached, Tables, VipView,
    entries_max, is_checked, reach,
};
pub use pulse::Traffic;
pub use rehearsal::check;
pub use reload::{Applied, Origin, Refused};
pub use shards::{Alarm, Ended, Listening, LogCounts, Prepared, ShardCounts, Shards, ShardsError};
pub use thread::{Companion, ControlThread};
pub use tls::{BadTls, CertificateView, RevocationListView};
pub use views::{
    ClusterView, EndpointView, ListenerView, ReloadView, RouteView, ServiceView, ShardView, Status,
};
