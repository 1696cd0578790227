//! Metrics that a filter defines.

use crate::abi::{MetricType, Status};
use crate::guest::{Answer, Guest, slice};
use crate::metrics::MetricError;

impl From<MetricError> for Status {
    fn from(error: MetricError) -> Status {
        match error {
            MetricError::NotFound => Status::NotFound,
            MetricError::Unfit => Status::BadArgument,
            MetricError::Full => Status::InternalFailure,
        }
    }
}

/// `proxy_define_metric`: the same name is the same metric, on every shard.
pub(super) fn define(guest: &mut Guest<'_>, kind: u32, name: u32, bytes: u32, out: u32) -> Answer {
    let kind = MetricType::from_u32(kind).ok_or(Status::BadArgument)?;
    let (memory, state) = guest.split()?;
    slice(memory, out, 4)?;
    let name = slice(memory, name, bytes)?;
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(Status::BadArgument.into());
    }
    let id = state.stats.define(kind, name).map_err(|error| {
        if error == MetricError::Full {
            state.counters().limits.add(1);
        }
        Status::from(error)
    })?;
    Ok(guest.write_u32(out, id)?)
}

/// `proxy_increment_metric`.
pub(super) fn increment(guest: &mut Guest<'_>, id: u32, delta: i64) -> Answer {
    let state = guest.state();
    Ok(state.stats.increment(state.shard, id, delta).map_err(Status::from)?)
}

/// `proxy_record_metric`.
pub(super) fn record(guest: &mut Guest<'_>, id: u32, value: u64) -> Answer {
    let state = guest.state();
    Ok(state.stats.record(state.shard, id, value).map_err(Status::from)?)
}

/// `proxy_get_metric`: the sum over all shards.
pub(super) fn value(guest: &mut Guest<'_>, id: u32, out: u32) -> Answer {
    let value = guest.state().stats.value(id).map_err(Status::from)?;
    Ok(guest.write_u64(out, value)?)
}

/// Longer names are no names.
const NAME_BYTES_MAX: usize = 256;
