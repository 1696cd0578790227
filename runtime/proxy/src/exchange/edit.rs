//! The changes that a route makes to heads: rewritten paths, fields removed, set and added.

use penstock_config::{HeaderEdits, PathPattern, Rewrite};
use penstock_wire::http1::{EditError, Fields, ResponseHead};

use super::Scratch;
use crate::failure::Cause;
use crate::route::Route;

/// Changes the request as its route says.
///
/// # Errors
/// The head would grow over its limits.
pub(crate) fn request(scratch: &mut Scratch, route: &Route) -> Result<(), Cause> {
    scratch.asked_host.clear();
    if let Some(rewrite) = &route.config.rewrite {
        rewrite_path(scratch, rewrite, &route.config.paths)?;
    }
    let edits = &route.config.request_headers;
    if edits.is_empty() {
        return Ok(());
    }
    if let Some((_, host)) = edits.set.iter().find(|(name, _)| name.matches(b"host")) {
        scratch.asked_host.extend_from_slice(scratch.request.authority().unwrap_or_default());
        let set = scratch.request.set_authority(host.as_str().as_bytes());
        set.map_err(|_| Cause::HeadTooLarge)?;
    }
    fields(scratch.request.fields_mut(), edits).map_err(|_| Cause::HeadTooLarge)
}

/// Changes the response as its route says.
///
/// # Errors
/// The head would grow over its limits.
pub(crate) fn response(head: &mut ResponseHead, route: &Route) -> Result<(), EditError> {
    let edits = &route.config.response_headers;
    if edits.is_empty() { Ok(()) } else { fields(head.fields_mut(), edits) }
}

fn fields(fields: &mut Fields, edits: &HeaderEdits) -> Result<(), EditError> {
    for name in &edits.remove {
        fields.remove(name.as_str().as_bytes())?;
    }
    for (name, value) in edits.set.iter().filter(|(name, _)| !name.matches(b"host")) {
        fields.set(name.as_str().as_bytes(), value.as_str().as_bytes())?;
    }
    for (name, value) in edits.add.iter() {
        fields.append(name.as_str().as_bytes(), value.as_str().as_bytes())?;
    }
    Ok(())
}

fn rewrite_path(
    scratch: &mut Scratch,
    rewrite: &Rewrite,
    patterns: &[PathPattern],
) -> Result<(), Cause> {
    let Scratch { request, path, values, .. } = scratch;
    let normal: &[u8] = if path.is_empty() { request.path() } else { path };
    values.clear();
    if let Some(whole) = &rewrite.path {
        values.extend_from_slice(whole.as_str().as_bytes());
    } else if let Some(prefix) = &rewrite.prefix {
        // The longest of the route's own prefixes that the path has.
        let matched = patterns.iter().filter_map(|pattern| match pattern {
            PathPattern::Prefix(text) if normal.starts_with(text.as_bytes()) => Some(text.len()),
            _ => None,
        });
        let rest = &normal[matched.max().unwrap_or(0)..];
        let base = prefix.as_str().trim_end_matches('/');
        values.extend_from_slice(base.as_bytes());
        if !rest.starts_with(b"/") {
            values.push(b'/');
        }
        values.extend_from_slice(rest);
    }
    if let Some(query) = request.query() {
        values.push(b'?');
        values.extend_from_slice(query);
    }
    request.set_path_and_query(values).map_err(|_| Cause::TargetTooLong)
}
