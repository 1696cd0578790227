//! Runs one exchange through a filter, shows what left it, and compares that with what was
//! expected.

use std::io::{self, Write};
use std::slice::Iter;
use std::time::Duration;

use penstock_filters_sdk_testing::{Callout, Exchange, Fields, FilterTest, LocalResponse, Verdict};

use crate::filter::case::{Action, Case, Failed, Field, Pieces, Reply};

/// What left the filter.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) action: Action,
    /// The request as it would go upstream.
    pub(crate) request: Message,
    /// Whether it went: the filter did not answer, hold or cut it.
    pub(crate) request_went: bool,
    /// The response that the caller gets; `None` if there is none.
    pub(crate) response: Option<Message>,
    /// Why the filter answered by itself; empty if it gave no reason.
    pub(crate) cause: String,
    /// Callouts that no reply came to, as `cluster path`.
    pub(crate) open_calls: Vec<String>,
    /// What the filter logged during the exchange.
    pub(crate) lines: Vec<String>,
    pub(crate) fuel: u64,
}

/// A head and the body behind it.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Runs the exchange to its end. `test` must be loaded.
pub(crate) fn run(test: &FilterTest, case: &Case) -> Outcome {
    for (path, value) in &case.properties {
        test.set_property(path, value.bytes());
    }
    let lines_before = test.lines().len();
    test.advance(Duration::from_millis(case.advance_ms));
    let fuel_before = test.fuel_used();
    let mut own = case.plugin_replies.iter();
    reply_outside(test, &mut own);
    let mut replies = case.replies.iter();
    let exchange = with_replies(send(test, case), &mut replies);
    let request = message(exchange.request_fields(), exchange.request_passed());
    let request_went = exchange.verdict() == Verdict::Continue;
    let exchange = match request_went {
        true => with_replies(respond(exchange, case), &mut replies),
        false => exchange,
    };
    let (action, response, cause) = match exchange.verdict() {
        Verdict::Answer(answer) => (Action::Answer, Some(answered(answer)), answer.details.clone()),
        Verdict::Continue => {
            let fields = exchange.response_fields();
            let response = fields.map(|fields| message(fields, exchange.response_passed()));
            (Action::Continue, response, String::new())
        }
        Verdict::Wait => (Action::Wait, None, String::new()),
        Verdict::Close => (Action::Close, None, String::new()),
    };
    let called = |call: &Callout| {
        let path = call.headers.value(b":path").unwrap_or_default();
        format!("{} {}", call.cluster, text(path))
    };
    let open_calls = exchange.calls().iter().map(called).collect();
    exchange.finish();
    test.run_queues();
    reply_outside(test, &mut own);
    let lines = test.lines().split_off(lines_before);
    // The count goes with an instance that failed.
    let fuel = test.fuel_used().saturating_sub(fuel_before);
    Outcome { action, request, request_went, response, cause, open_calls, lines, fuel }
}

fn send<'t>(test: &'t FilterTest, case: &Case) -> Exchange<'t> {
    let fields = case.request_fields();
    if case.body.is_none() && case.trailers.is_empty() {
        return test.request(&fields);
    }
    let pieces = pieces(case.body.as_ref(), &case.trailers);
    let mut exchange = test.request_with_body(&fields);
    for (piece, end) in pieces {
        if is_over(&exchange) {
            return exchange;
        }
        exchange = exchange.request_body(piece, end);
    }
    match case.trailers.is_empty() || is_over(&exchange) {
        true => exchange,
        false => exchange.request_trailers(&pairs(&case.trailers)),
    }
}

/// The pieces of a body, and with which it ends; where trailers follow, with none.
fn pieces<'c>(body: Option<&'c Pieces>, trailers: &[Field]) -> Vec<(&'c [u8], bool)> {
    let mut pieces: Vec<(&[u8], bool)> =
        body.into_iter().flat_map(|body| &body.0).map(|piece| (&**piece, false)).collect();
    if trailers.is_empty() {
        match pieces.last_mut() {
            Some((_, end)) => *end = true,
            None => pieces.push((&[], true)),
        }
    }
    pieces
}

/// Whether nothing more is shown to the filter.
fn is_over(exchange: &Exchange<'_>) -> bool {
    matches!(exchange.verdict(), Verdict::Answer(_) | Verdict::Close)
}

fn respond<'t>(exchange: Exchange<'t>, case: &Case) -> Exchange<'t> {
    let response = &case.response;
    let fields = pairs(&response.headers);
    if response.body.is_none() && response.trailers.is_empty() {
        return exchange.respond(response.status, &fields);
    }
    let mut exchange = exchange.respond_with_body(response.status, &fields);
    for (piece, end) in pieces(response.body.as_ref(), &response.trailers) {
        if is_over(&exchange) {
            return exchange;
        }
        exchange = exchange.response_body(piece, end);
    }
    match response.trailers.is_empty() || is_over(&exchange) {
        true => exchange,
        false => exchange.response_trailers(&pairs(&response.trailers)),
    }
}

/// Replies to callouts for as long as there are both.
fn with_replies<'t>(mut exchange: Exchange<'t>, replies: &mut Iter<'_, Reply>) -> Exchange<'t> {
    while !exchange.calls().is_empty()
        && let Some(reply) = replies.next()
    {
        exchange = match reply {
            Reply::Failed(Failed { fail }) => exchange.fail_call_by((*fail).into()),
            Reply::Message(reply) => {
                let body = reply.body.as_ref().map_or(&b""[..], |body| &body.0);
                exchange.reply(reply.status, &pairs(&reply.headers), body)
            }
        };
    }
    exchange
}

/// The same for calls that the filter makes outside requests.
fn reply_outside(test: &FilterTest, replies: &mut Iter<'_, Reply>) {
    while test.has_call()
        && let Some(reply) = replies.next()
    {
        match reply {
            Reply::Failed(Failed { fail }) => test.fail_call_by((*fail).into()),
            Reply::Message(reply) => {
                let body = reply.body.as_ref().map_or(&b""[..], |body| &body.0);
                test.reply(reply.status, &pairs(&reply.headers), body)
            }
        };
    }
}

/// Fields as the test harness takes them.
pub(crate) fn pairs(fields: &[Field]) -> Vec<(&str, &str)> {
    fields.iter().map(|field| (&*field.name, &*field.value)).collect()
}

fn message(fields: &Fields, body: &[u8]) -> Message {
    let fields = fields.iter().map(|(name, value)| (text(name), text(value))).collect();
    Message { fields, body: body.to_vec() }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn answered(answer: &LocalResponse) -> Message {
    let status = [(":status".to_owned(), answer.status.to_string())];
    let fields = answer.headers.iter().map(|(name, value)| (text(name), text(value)));
    Message { fields: status.into_iter().chain(fields).collect(), body: answer.body.clone() }
}

impl Message {
    fn values<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m str> {
        let same = move |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|(_, value)| &**value)
    }

    fn status(&self) -> Option<u16> {
        self.values(":status").next()?.parse().ok()
    }
}

impl Outcome {
    /// Shows everything, as `curl -v` would: `>` goes upstream, `<` comes back, `*` is about it.
    pub(crate) fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        match self.request_went {
            true => show_message('>', &self.request, out)?,
            false => writeln!(out, "* the request does not go upstream")?,
        }
        if let Some(response) = &self.response {
            show_message('<', response, out)?;
        }
        let because = if self.cause.is_empty() { "" } else { ", because of " };
        writeln!(out, "* {}{because}{}", self.action.name(), self.cause)?;
        for call in &self.open_calls {
            writeln!(out, "* calls {call}, and has no reply")?;
        }
        for line in &self.lines {
            writeln!(out, "* log: {line}")?;
        }
        writeln!(out, "* fuel: {}", self.fuel)
    }

    /// What is not as the case expects, one line each.
    pub(crate) fn unmet(&self, case: &Case) -> Vec<String> {
        let expect = &case.expect;
        let mut unmet = Vec::new();
        let mut check = |met: bool, what: String| {
            if !met {
                unmet.push(what);
            }
        };
        if let Some(action) = expect.action {
            let (found, expected) = (self.action.name(), action.name());
            check(self.action == action, format!("action: {found}, expected {expected}"));
        }
        let nothing = Message::default();
        let response = self.response.as_ref().unwrap_or(&nothing);
        if let Some(expected) = expect.status {
            let found = response.status();
            let shown = found.map_or("none".to_owned(), |found| found.to_string());
            check(found == Some(expected), format!("status: {shown}, expected {expected}"));
        }
        if let Some(expected) = &expect.cause {
            check(
                self.cause == *expected,
                format!("cause: {:?}, expected {expected:?}", self.cause),
            );
        }
        if let Some(max) = expect.fuel_max {
            check(self.fuel <= max, format!("fuel: {}, at most {max} expected", self.fuel));
        }
        for text in &expect.log {
            let found = self.lines.iter().any(|line| line.contains(text));
            check(found, format!("log: no line with {text:?}"));
        }
        let upstream = if self.request_went { &self.request } else { &nothing };
        let both = [
            ("response", response, &expect.headers, &expect.no_headers, &expect.body),
            (
                "request",
                upstream,
                &expect.request_headers,
                &expect.no_request_headers,
                &expect.request_body,
            ),
        ];
        for (what, message, fields, no_fields, body) in both {
            unmet.extend(unmet_fields(what, message, fields, no_fields));
            if let Some(body) = body.as_ref().filter(|body| body.0 != message.body) {
                let (found, expected) = (text(&message.body), text(&body.0));
                unmet.push(format!("{what} body: {found:?}, expected {expected:?}"));
            }
        }
        unmet
    }
}

fn unmet_fields(
    what: &str,
    message: &Message,
    fields: &[Field],
    no_fields: &[String],
) -> Vec<String> {
    let mut unmet = Vec::new();
    for Field { name, value } in fields {
        let found: Vec<&str> = message.values(name).collect();
        if !found.contains(&&**value) {
            unmet.push(format!("{what} field {name}: {found:?}, expected {value:?}"));
        }
    }
    for name in no_fields {
        let found: Vec<&str> = message.values(name).collect();
        if !found.is_empty() {
            unmet.push(format!("{what} field {name}: {found:?}, expected none"));
        }
    }
    unmet
}

fn show_message(mark: char, message: &Message, out: &mut dyn Write) -> io::Result<()> {
    for (name, value) in &message.fields {
        writeln!(out, "{mark} {name}: {value}")?;
    }
    if !message.body.is_empty() {
        let body = String::from_utf8_lossy(&message.body);
        writeln!(out, "{mark}")?;
        for line in body.lines() {
            writeln!(out, "{mark} {line}")?;
        }
    }
    Ok(())
}
