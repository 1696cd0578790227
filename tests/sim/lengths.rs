//! What a head says of its body's length, where filters look at bodies: it stays, unless they take
//! it away, and what they make of a body is held to it.

use penstock_env::Address;
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, check_few_seeds};

use crate::proxy::Proxy;
use crate::strict::{Exchanged, exchange};

/// What becomes of a request behind the filter `name`.
fn check(name: &str, request: &str, answer: &'static str, is_right: fn(&Exchanged)) {
    check_few_seeds(name, Faults::CALM, |world| {
        let serve = |origin: &Address| {
            let text = format!(
                "[listener.web]\naddress = \"FRONT\"\nfilters = [\"{name}\"]\nto = \"app\"\n\
                 [filter.{name}]\nwasm = \"/{name}.wasm\"\n\
                 [cluster.app]\nendpoints = [\"{origin}\"]\n"
            );
            Proxy::serve(world, &text)
        };
        is_right(&exchange(world, serve, request, answer));
    });
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const NONE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const SAYS: &str = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";

#[test]
fn a_length_that_no_filter_takes_away_stays() {
    check("look", POST, OK, |all| {
        assert!(all.seen[0].contains("Content-Length: 5\r\n"), "{:?}", all.seen);
        assert!(all.seen[0].ends_with("\r\n\r\nhello"), "{:?}", all.seen);
        assert!(all.answer.contains("Content-Length: 2\r\n"), "{}", all.answer);
        assert!(all.answer.ends_with("\r\n\r\nok"), "{}", all.answer);
        assert_eq!(all.causes, []);
    });
    check("look", HEAD, SAYS, |all| {
        assert!(all.answer.contains("Content-Length: 7\r\n"), "{}", all.answer);
    });
}

#[test]
fn a_body_is_of_any_length_once_a_filter_took_it_away() {
    check("free", POST, OK, |all| {
        let (seen, answer) = (all.seen[0].to_lowercase(), all.answer.to_lowercase());
        assert!(!seen.contains("content-length") && !answer.contains("content-length"), "{seen}");
        assert!(seen.contains("yes") && seen.ends_with("\r\n0\r\n\r\n"), "{seen}");
        assert!(answer.contains("yes") && answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
        assert_eq!(all.causes, []);
    });
    // What is asked for is what GET would have said (RFC 9110 §9.3.2), and that is nothing.
    check("free", HEAD, SAYS, |all| {
        assert!(!all.answer.to_lowercase().contains("content-length"), "{}", all.answer);
    });
}

#[test]
fn a_body_that_outgrows_what_its_head_says_is_cut() {
    check("grow", POST, NONE, |all| {
        assert!(all.answer.starts_with("HTTP/1.1 503 "), "{}", all.answer);
        // Where it comes in pieces, the first may be as long as all was to be.
        assert!(all.seen.iter().all(|seen| seen.ends_with("\r\n\r\nyeshe")), "{:?}", all.seen);
        assert_eq!(all.causes, [Cause::FilterBodyLength]);
    });
    check("grow", GET, OK, |all| {
        assert!(!all.answer.contains("yes"), "{}", all.answer);
        assert_eq!((all.seen.len(), &all.causes[..]), (1, &[Cause::FilterBodyLength][..]));
    });
}

#[test]
fn a_204_that_a_filter_makes_of_an_answer_has_no_body() {
    check("empty", GET, OK, |all| {
        assert!(all.answer.starts_with("HTTP/1.1 204 No Content\r\n"), "{}", all.answer);
        let low = all.answer.to_lowercase();
        assert!(!low.contains("content-length") && low.ends_with("\r\n\r\n"), "{low}");
        assert_eq!(all.causes, []);
    });
}
