//! The callbacks of an instance that are about raw connections; their bytes come as bodies do
//! (`callbacks`).

use crate::abi::{Action, PeerType};
use crate::callbacks::action;
use crate::contexts::ContextId;
use crate::error::Trapped;
use crate::instance::{Instance, Way};
use crate::state::Lent;

impl Instance {
    /// `proxy_on_new_connection`.
    pub(crate) fn on_new_connection(
        &mut self,
        id: ContextId,
        lent: Lent<'_>,
    ) -> Result<Action, Trapped> {
        let lent = Lent { stream: id, ..lent };
        let result = self.run(id, lent, self.header_ticks, |store, calls| {
            calls.new_connection.as_ref().map_or(Ok(0), |call| call.call(store, id.as_u32()))
        })?;
        Ok(action(result))
    }

    /// `proxy_on_downstream_connection_close` or `proxy_on_upstream_connection_close`.
    pub(crate) fn on_close(
        &mut self,
        way: Way,
        id: ContextId,
        lent: Lent<'_>,
        peer: PeerType,
    ) -> Result<(), Trapped> {
        let lent = Lent { stream: id, ..lent };
        self.run(id, lent, self.header_ticks, |store, calls| {
            let call = match way {
                Way::Request => &calls.downstream_close,
                Way::Response => &calls.upstream_close,
            };
            call.as_ref().map_or(Ok(()), |call| call.call(store, (id.as_u32(), peer as u32)))
        })
    }
}
