//! Counts calls by service and method: how they ended, how long they took, their messages.
//!
//! Methods come with the calls, so whoever calls could name any number of them: a method is taken
//! up once an endpoint has answered for it, up to a limit. The others are counted together.

use penstock_env::Env;
use penstock_telemetry::metrics::Instance;
use penstock_wire::grpc::{Code, Messages};

use crate::exchange::Exchange;
use crate::exchange::Scratch;

/// Counts a call that ended.
pub(crate) fn count<E: Env>(
    exchange: &Exchange<'_, E>,
    scratch: &Scratch,
    code: Code,
    total_us: u64,
) {
    // Our own answers say nothing of whether there is such a method.
    let answered = exchange.record.cause.is_none() && exchange.record.endpoint.is_some();
    let instance = instance_of(exchange, scratch.request.path(), answered, code);
    let (block, ids) = (instance.shard(exchange.worker.shard()), &exchange.worker.schemas().method);
    block.increment(ids.calls.at(code as usize));
    block.record(ids.duration, total_us);
    let sound = |messages: &Option<Messages>| messages.filter(Messages::is_sound);
    if let Some(messages) = sound(&scratch.upload.messages) {
        block.add(ids.messages_in, messages.count());
        block.add(ids.bytes_in, messages.bytes());
    }
    if let Some(messages) = sound(&scratch.download.messages) {
        block.add(ids.messages_out, messages.count());
        block.add(ids.bytes_out, messages.bytes());
    }
}

fn instance_of<'e, E: Env>(
    exchange: &'e Exchange<'_, E>,
    path: &[u8],
    answered: bool,
    code: Code,
) -> &'e Instance {
    let methods = &exchange.plan.snapshot.methods;
    let Some((service, method)) = names_in(path) else { return methods.other() };
    match answered && code != Code::Unimplemented {
        true => methods.find_or_add(path, || Box::new([service.to_owned(), method.to_owned()])),
        false => methods.find(path).unwrap_or_else(|| methods.other()),
    }
}

/// `/service/method`, as `PROTOCOL-HTTP2.md` has paths.
fn names_in(path: &[u8]) -> Option<(&str, &str)> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let name = |bytes: &'_ [u8]| {
        !bytes.is_empty() && bytes.len() <= NAME_BYTES_MAX && bytes.iter().all(|&b| is_name(b))
    };
    let mut parts = path.strip_prefix(b"/")?.split(|&byte| byte == b'/');
    let (service, method) = (parts.next()?, parts.next()?);
    if parts.next().is_some() || !name(service) || !name(method) {
        return None;
    }
    Some((std::str::from_utf8(service).ok()?, std::str::from_utf8(method).ok()?))
}

/// Longer names than people give are not for labels.
const NAME_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::names_in;

    #[test]
    fn a_path_of_two_names_is_a_method() {
        for (path, names) in [
            ("/shop.v1.Cart/Add", Some(("shop.v1.Cart", "Add"))),
            ("/a/b", Some(("a", "b"))),
            ("/a/b/", None),
            ("/a//b", None),
            ("/a", None),
            ("//b", None),
            ("a/b", None),
            ("/a/b%20c", None),
            ("", None),
        ] {
            assert_eq!(names_in(path.as_bytes()), names, "{path}");
        }
        assert_eq!(names_in(format!("/a/{}", "b".repeat(129)).as_bytes()), None);
    }
}
