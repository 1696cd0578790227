//! Who may ask over TCP: who knows the token, and no web page of somebody else's.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::audit::Bearer;
use crate::guests::Known;
use crate::problem::Problem;

/// Paths that need no token: probes have none, and the page holds no data.
const OPEN: &[&str] = &["/", "/live", "/ready"];

/// Lets through what is allowed; `known` is told of a connection on which the token was shown.
pub(crate) async fn check(
    token: Arc<[u8]>,
    known: Known,
    request: Request,
    next: Next,
) -> Response {
    match judge(request.headers(), request.uri().path(), &token) {
        Ok(Shown::Nothing) => next.run(request).await,
        Ok(Shown::Token) => {
            known.set();
            let mut response = next.run(request).await;
            response.extensions_mut().insert(Bearer);
            response
        }
        Err(problem) => problem.into_response(),
    }
}

/// What an allowed request came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Token,
}

fn judge(headers: &HeaderMap, path: &str, token: &[u8]) -> Result<Shown, Problem> {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    // A page that rebinds its own name to our address comes with that name.
    if !is_address(host) {
        let detail = "Host has to be an IP address or localhost";
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
    }
    let foreign = |origin: &str| origin.strip_prefix("http://") != Some(host);
    if headers.contains_key(header::ORIGIN) && text(header::ORIGIN).is_none_or(foreign) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "Origin is another site"));
    }
    // RFC 6750 §2.1; RFC 9110 §11.1: schemes compare without regard to case.
    let given = text(header::AUTHORIZATION).and_then(|value| value.split_once(' '));
    let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let knows = given.is_some_and(|(_, given)| is_equal(given.trim().as_bytes(), token));
    match knows {
        true => Ok(Shown::Token),
        false if OPEN.contains(&path) => Ok(Shown::Nothing),
        false => Err(Problem::new(StatusCode::UNAUTHORIZED, "send Authorization: Bearer TOKEN")),
    }
}

/// An IP address or `localhost`, with a port or without.
fn is_address(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Takes as long for a wrong token as for a right one of its length.
fn is_equal(given: &[u8], token: &[u8]) -> bool {
    let differing = given.iter().zip(token).fold(0, |sum, (one, other)| sum | (one ^ other));
    given.len() == token.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::judge;

    #[track_caller]
    fn check(path: &str, fields: &[(&'static str, &'static str)], expected: bool) {
        let fields = fields
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let headers: HeaderMap = fields.collect();
        assert_eq!(judge(&headers, path, b"secret").is_ok(), expected, "{path} {headers:?}");
    }

    #[test]
    fn the_token_opens_and_foreign_pages_stay_out() {
        let (host, right) = (("host", "127.0.0.1:9000"), ("authorization", "Bearer secret"));
        check("/v1/status", &[host, right], true);
        check("/v1/status", &[("host", "[::1]:9000"), ("authorization", "bearer secret")], true);
        check("/v1/status", &[host], false);
        check("/v1/status", &[host, ("authorization", "Bearer secret2")], false);
        check("/v1/status", &[host, ("authorization", "Bearer secreT")], false);
        check("/v1/status", &[host, ("authorization", "Basic secret")], false);
        check("/live", &[("host", "localhost")], true);
        check("/", &[host], true);
        check("/live", &[("host", "evil.example")], false);
        check("/live", &[], false);
        check("/v1/status", &[host, right, ("origin", "http://127.0.0.1:9000")], true);
        check("/v1/status", &[host, right, ("origin", "http://evil.example")], false);
        check("/v1/status", &[host, right, ("origin", "null")], false);
    }
}
