//! Maps of fields: the exchange's own, and those of answers to the filter's calls.

use crate::PairList;
use crate::abi::pairs::{Pairs, Writer, list_bytes};
use crate::abi::{MapType, Status, Version};
use crate::grpc::GrpcEvent;
use crate::guest::{Answer, Guest, give_near, slice};
use crate::session::{BadField, HeaderMap};
use crate::state::Call;

/// A map to read: the session's, or a list that the host holds.
enum Readable<'a> {
    Session(&'a dyn HeaderMap),
    List(&'a PairList),
}

/// Finds the map for reading. `BadArgument` when there is none now, as in Envoy; but the maps of a
/// call that failed are there, and empty.
fn readable(call: &mut Call, map: u32) -> Result<Readable<'_>, Status> {
    match MapType::from_u32(map).ok_or(Status::BadArgument)? {
        MapType::HttpCallResponseHeaders => {
            call.callout().map(|answer| Readable::List(&answer.headers)).ok_or(Status::BadArgument)
        }
        MapType::HttpCallResponseTrailers => {
            call.callout().map(|answer| Readable::List(&answer.trailers)).ok_or(Status::BadArgument)
        }
        MapType::GrpcInitialMetadata => match call.grpc() {
            Some(GrpcEvent::InitialMetadata(fields)) => Ok(Readable::List(fields)),
            Some(_) | None => Err(Status::BadArgument),
        },
        MapType::GrpcTrailingMetadata => match call.grpc() {
            Some(GrpcEvent::TrailingMetadata(fields)) => Ok(Readable::List(fields)),
            Some(_) | None => Err(Status::BadArgument),
        },
        map => {
            let map = call.session()?.headers(map).ok_or(Status::BadArgument)?;
            Ok(Readable::Session(map))
        }
    }
}

/// Finds the map for changing; answers to calls can't be changed.
fn writable(call: &mut Call, map: u32) -> Result<&mut dyn HeaderMap, Status> {
    match MapType::from_u32(map).ok_or(Status::BadArgument)? {
        MapType::RequestHeaders
        | MapType::RequestTrailers
        | MapType::ResponseHeaders
        | MapType::ResponseTrailers => {}
        _ => return Err(Status::BadArgument),
    }
    let map = MapType::from_u32(map).ok_or(Status::BadArgument)?;
    call.session()?.headers(map).ok_or(Status::BadArgument)
}

/// `proxy_get_header_map_size`: bytes of names and values, which is Envoy's reading of it.
pub(super) fn size(guest: &mut Guest<'_>, map: u32, out: u32) -> Answer {
    let bytes = match readable(&mut guest.state().call, map)? {
        Readable::Session(map) => map.bytes(),
        Readable::List(list) => content_bytes(list),
    };
    Ok(guest.write_u32(out, u32::try_from(bytes).unwrap_or(u32::MAX))?)
}

/// `proxy_get_header_map_pairs`. A map that isn't there reads as empty, as in Envoy; another
/// exchange's does not.
pub(super) fn pairs(guest: &mut Guest<'_>, map: u32, value: u32, bytes: u32) -> Answer {
    let kind = MapType::from_u32(map).ok_or(Status::BadArgument)?;
    let state = guest.state();
    state.scratch.clear();
    match readable(&mut state.call, kind as u32) {
        Ok(Readable::List(list)) => state.scratch.extend_from_slice(list.encoded()),
        Ok(Readable::Session(map)) => {
            let (count, needed) = (map.len(), list_bytes(map.len(), map.bytes()));
            if needed > state.settings.hostcall_bytes_max {
                state.counters().limits.add(1);
                return Err(Status::InternalFailure.into());
            }
            state.scratch.resize(needed, 0);
            if count > 0 {
                let mut writer = Writer::new(&mut state.scratch, count);
                map.for_each(&mut |name, value| writer.pair(name, value));
                if !writer.finish() {
                    return Err(Status::SerializationFailure.into());
                }
            }
        }
        Err(Status::BadArgument) => {}
        Err(status) => return Err(status.into()),
    }
    guest.give_scratch(value, bytes)
}

/// `proxy_set_header_map_pairs`.
pub(super) fn set_pairs(guest: &mut Guest<'_>, map: u32, value: u32, bytes: u32) -> Answer {
    let (memory, state) = guest.split()?;
    let list = slice(memory, value, bytes)?;
    let fields = Pairs::parse(list, PAIRS_MAX).map_err(|_| Status::BadArgument)?;
    let map = writable(&mut state.call, map)?;
    edited(map.replace_all(fields))
}

/// `proxy_get_header_map_value`: the first value of the name, as in Envoy.
#[inline]
pub(super) fn value(
    guest: &mut Guest<'_>,
    map: u32,
    name: u32,
    name_bytes: u32,
    value: u32,
    bytes: u32,
) -> Answer {
    let (memory, state) = guest.split()?;
    let name = slice(memory, name, name_bytes)?;
    let found = match readable(&mut state.call, map)? {
        Readable::Session(map) => map.value(name),
        Readable::List(list) => list.value(name),
    };
    let found = match found {
        Some(found) => found,
        // A filter built for 0.1.0 can't tell a missing field from an empty one.
        None if state.version == Version::V0_1_0 => &[],
        None => return Err(Status::NotFound.into()),
    };
    if found.len() <= state.settings.hostcall_bytes_max
        && let Some(given) = give_near(memory, &mut state.arena, found, [value, bytes])
    {
        return Ok(given?);
    }
    state.scratch.clear();
    state.scratch.extend_from_slice(found);
    guest.give_scratch(value, bytes)
}

/// `proxy_add_header_map_value`.
pub(super) fn add(
    guest: &mut Guest<'_>,
    map: u32,
    name: u32,
    name_bytes: u32,
    value: u32,
    bytes: u32,
) -> Answer {
    let (memory, state) = guest.split()?;
    let name = slice(memory, name, name_bytes)?;
    let value = slice(memory, value, bytes)?;
    edited(writable(&mut state.call, map)?.add(name, value))
}

/// `proxy_replace_header_map_value`.
pub(super) fn replace(
    guest: &mut Guest<'_>,
    map: u32,
    name: u32,
    name_bytes: u32,
    value: u32,
    bytes: u32,
) -> Answer {
    let (memory, state) = guest.split()?;
    let name = slice(memory, name, name_bytes)?;
    let value = slice(memory, value, bytes)?;
    edited(writable(&mut state.call, map)?.replace(name, value))
}

/// `proxy_remove_header_map_value`.
pub(super) fn remove(guest: &mut Guest<'_>, map: u32, name: u32, name_bytes: u32) -> Answer {
    let (memory, state) = guest.split()?;
    let name = slice(memory, name, name_bytes)?;
    edited(writable(&mut state.call, map)?.remove(name))
}

/// What an edit answers. One of a field that is not the filter's to change is accepted and has no
/// effect: Envoy accepts it, filters take away `content-length` before they change a body, and
/// the public Rust SDK panics where anything but success is answered.
fn edited(result: Result<(), BadField>) -> Answer {
    match result {
        Ok(()) | Err(BadField::Fixed) => Ok(()),
        Err(BadField::Name | BadField::Value | BadField::OverLimit) => {
            Err(Status::BadArgument.into())
        }
    }
}

/// Bytes of names and values together.
fn content_bytes(list: &PairList) -> usize {
    list.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// More fields than any head may have.
pub(super) const PAIRS_MAX: u32 = 1_000;
