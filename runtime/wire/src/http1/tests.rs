//! Rows of input and answer, each given to the codec whole and cut at every byte.

mod body;
mod edit;
mod parts;
mod random;
mod request;
mod response;
mod samples;
mod write;

use super::{
    Lenient, Limits, Method, Parsed, RequestError, RequestHead, ResponseError, ResponseHead,
    parse_request, parse_response,
};

/// Parses a request whole, at every cut, and byte by byte into one head: all must agree.
#[track_caller]
fn request_of(
    input: &[u8],
    limits: &Limits,
    lenient: Lenient,
) -> Result<RequestHead, RequestError> {
    let mut whole = RequestHead::new();
    let answer = parse_request(input, limits, lenient, &mut whole);
    let mut growing = RequestHead::new();
    for cut in 0..=input.len() {
        let mut fresh = RequestHead::new();
        let fresh_answer = parse_request(&input[..cut], limits, lenient, &mut fresh);
        let growing_answer = parse_request(&input[..cut], limits, lenient, &mut growing);
        for part in [fresh_answer, growing_answer] {
            let fits = part == Ok(Parsed::Partial) || part == answer;
            assert!(fits, "cut at {cut}: {part:?}, whole: {answer:?}");
        }
        if growing_answer != Ok(Parsed::Partial) {
            break;
        }
    }
    match answer? {
        Parsed::Complete { .. } => Ok(whole),
        Parsed::Partial => panic!("partial: {}", input.escape_ascii()),
    }
}

/// As [`request_of`], for the response to a request of `method`.
#[track_caller]
fn response_of(
    input: &[u8],
    method: Method,
    lenient: Lenient,
) -> Result<ResponseHead, ResponseError> {
    let limits = Limits::default();
    let mut whole = ResponseHead::new();
    let answer = parse_response(input, method, &limits, lenient, &mut whole);
    let mut growing = ResponseHead::new();
    for cut in 0..=input.len() {
        let mut fresh = ResponseHead::new();
        let fresh_answer = parse_response(&input[..cut], method, &limits, lenient, &mut fresh);
        let growing_answer = parse_response(&input[..cut], method, &limits, lenient, &mut growing);
        for part in [fresh_answer, growing_answer] {
            let fits = part == Ok(Parsed::Partial) || part == answer;
            assert!(fits, "cut at {cut}: {part:?}, whole: {answer:?}");
        }
        if growing_answer != Ok(Parsed::Partial) {
            break;
        }
    }
    match answer? {
        Parsed::Complete { .. } => Ok(whole),
        Parsed::Partial => panic!("partial: {}", input.escape_ascii()),
    }
}
