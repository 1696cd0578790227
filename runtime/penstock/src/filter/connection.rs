//! One raw connection to run a filter through, what left it, and whether that is what was expected.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::slice::Iter;
use std::time::Duration;

use penstock_filters_sdk_testing::{Connection, Fate, FilterTest, PeerType};
use serde::Deserialize;

use crate::filter::case::{Body, Message, Property};
use crate::filter::outcome::pairs;

/// A client's connection, step by step, and what the filter is expected to make of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ConnectionCase {
    /// What it shows, for the report.
    pub(crate) name: String,
    /// What the filter can ask about the connection; paths with dots.
    properties: BTreeMap<String, Property>,
    /// Time that passes before it comes: timers that are due run.
    advance_ms: u64,
    /// Replies to the filter's callouts, in their order, each as soon as it is called for.
    replies: Vec<Message>,
    /// What comes, in this order.
    steps: Vec<Step>,
    expect: Expect,
}

/// Bytes that come from one side.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// From the client.
    downstream: Option<Body>,
    /// From the endpoint.
    upstream: Option<Body>,
    /// They are the last from there.
    #[serde(default)]
    end: bool,
}

/// What is expected in the end; what is not named may be as it will.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Expect {
    action: Option<Action>,
    /// All that went on to the endpoint.
    to_upstream: Option<Body>,
    /// All that went on to the client.
    to_downstream: Option<Body>,
    /// A part of a line that the filter logs.
    log: Vec<String>,
    /// Fuel that the connection may use: about one for each instruction.
    fuel_max: Option<u64>,
}

/// What the filter did with a connection in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// It let go what it was shown last.
    Continue,
    /// It holds that.
    Wait,
    /// It closed the connection.
    Close,
    /// It failed, and the connection is reset for that.
    Fail,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Action::Continue => "continue",
            Action::Wait => "wait",
            Action::Close => "close",
            Action::Fail => "fail",
        }
    }
}

/// What left the filter.
#[derive(Debug)]
pub(crate) struct Outcome {
    action: Action,
    to_upstream: Vec<u8>,
    to_downstream: Vec<u8>,
    /// What the filter logged meanwhile.
    lines: Vec<String>,
    /// What the connection used.
    pub(crate) fuel: u64,
}

/// Runs the connection to its end. `test` must be loaded.
pub(crate) fn run(test: &FilterTest, case: &ConnectionCase) -> Outcome {
    for (path, value) in &case.properties {
        test.set_property(path, value.bytes());
    }
    let lines_before = test.lines().len();
    test.advance(Duration::from_millis(case.advance_ms));
    let fuel_before = test.fuel_used();
    let mut replies = case.replies.iter();
    let mut connection = with_replies(test.connect(), &mut replies);
    for step in &case.steps {
        if !matches!(connection.fate(), Fate::Continue | Fate::Wait) {
            break;
        }
        if let Some(bytes) = &step.downstream {
            connection = connection.downstream(&bytes.0, step.end);
        }
        if let Some(bytes) = &step.upstream {
            connection = connection.upstream(&bytes.0, step.end);
        }
        connection = with_replies(connection, &mut replies);
    }
    let action = match connection.fate() {
        Fate::Continue => Action::Continue,
        Fate::Wait => Action::Wait,
        Fate::Close => Action::Close,
        Fate::Failed(_) => Action::Fail,
    };
    let to_upstream = connection.sent_upstream().to_vec();
    let to_downstream = connection.sent_downstream().to_vec();
    connection.close(PeerType::Remote, PeerType::Local);
    let lines = test.lines().split_off(lines_before);
    // The count goes with an instance that failed.
    let fuel = test.fuel_used().saturating_sub(fuel_before);
    Outcome { action, to_upstream, to_downstream, lines, fuel }
}

/// Replies to callouts for as long as there are both.
fn with_replies<'t>(
    mut connection: Connection<'t>,
    replies: &mut Iter<'_, Message>,
) -> Connection<'t> {
    while !connection.calls().is_empty()
        && let Some(reply) = replies.next()
    {
        let body = reply.body.as_ref().map_or(&b""[..], |body| &body.0);
        connection = connection.reply(reply.status, &pairs(&reply.headers), body);
    }
    connection
}

impl Outcome {
    /// Shows everything: `>` goes to the endpoint, `<` to the client, `*` is about it.
    pub(crate) fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        for (mark, bytes) in [('>', &self.to_upstream), ('<', &self.to_downstream)] {
            for line in String::from_utf8_lossy(bytes).lines() {
                writeln!(out, "{mark} {line}")?;
            }
        }
        writeln!(out, "* {}", self.action.name())?;
        for line in &self.lines {
            writeln!(out, "* log: {line}")?;
        }
        writeln!(out, "* fuel: {}", self.fuel)
    }

    /// What is not as the case expects, one line each.
    pub(crate) fn unmet(&self, case: &ConnectionCase) -> Vec<String> {
        let (expect, mut unmet) = (&case.expect, Vec::new());
        if let Some(action) = expect.action.filter(|action| *action != self.action) {
            unmet.push(format!("action: {}, expected {}", self.action.name(), action.name()));
        }
        let both = [
            ("to upstream", &self.to_upstream, &expect.to_upstream),
            ("to downstream", &self.to_downstream, &expect.to_downstream),
        ];
        for (what, found, expected) in both {
            if let Some(expected) = expected.as_ref().filter(|expected| expected.0 != *found) {
                let text = String::from_utf8_lossy;
                unmet.push(format!("{what}: {:?}, expected {:?}", text(found), text(&expected.0)));
            }
        }
        for text in &expect.log {
            if !self.lines.iter().any(|line| line.contains(text)) {
                unmet.push(format!("log: no line with {text:?}"));
            }
        }
        if let Some(max) = expect.fuel_max.filter(|max| self.fuel > *max) {
            unmet.push(format!("fuel: {}, at most {max} expected", self.fuel));
        }
        unmet
    }
}
