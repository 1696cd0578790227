//! Services whose packets are passed on: from the config to what tables of a datapath say.
//!
//! A config becomes a [`plan::Plan`], which is the same on every appliance of a fleet but for the
//! appliance's own addresses. An [`assign::Assignment`] gives its parts the numbers that flows
//! know them by, over reloads and restarts, and says what has to be written in which order. Not
//! for what happens to packets: that is the datapath's, behind the seam.

mod assign;
mod care;
mod detour;
mod facts;
mod flows;
mod fullness;
mod plan;
mod reach;
mod running;
mod seam;
#[cfg(test)]
mod tests;
mod views;
mod ways;

pub(crate) use detour::Through;
pub use detour::is_checked;
pub use flows::{FlowView, FlowsView};
pub use fullness::entries_max;
pub use plan::BadPlan;
pub(crate) use plan::{Fallen, passing};
pub use reach::{Reached, reach};
pub(crate) use running::Layer4;
pub use seam::{
    Change, Datapath, DatapathError, DatapathOptions, Datapaths, Detour, Guide, InterfaceFacts,
    NoDatapaths, Tables,
};
pub use views::{BackendView, PacketsView, VipView};
