//! What a route does with a request: forward it, redirect it, or answer it.

use std::fmt;
use std::str::FromStr;

use crate::edits::Fields;
use crate::grammar::names::ClusterId;
use crate::grammar::reader::TableReader;
use crate::grammar::section::{Group, TableSchema, TableWriter, section};
use crate::grammar::setting::{ListOf, Setting};
use crate::values::foreign::has_variable;
use crate::values::text::{BadText, text_settings};
use crate::values::units::Weight;

/// What a route does: exactly one of these.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `to` or `split`: to a cluster.
    Forward(Forward),
    /// `redirect`: tells the downstream to ask elsewhere.
    Redirect(Redirect),
    /// `respond`: answers itself.
    Respond(FixedResponse),
}

/// The clusters that a route forwards to, each with its share; never none, never all of weight 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward(Vec<Share>);

impl Forward {
    /// Everything to one cluster.
    pub fn all_to(cluster: ClusterId) -> Forward {
        Forward(vec![Share { cluster, weight: Weight::ONE }])
    }

    /// The clusters and their shares.
    pub fn shares(&self) -> &[Share] {
        &self.0
    }

    /// The one cluster, where there is one.
    pub fn only(&self) -> Option<ClusterId> {
        match &*self.0 {
            [share] => Some(share.cluster),
            _ => None,
        }
    }

    /// The sum of the weights; at least 1.
    pub fn weight_total(&self) -> u32 {
        self.0.iter().map(|share| share.weight.shares()).sum()
    }
}

section! {
    /// A cluster's share of a route's requests.
    #[derive(Eq)]
    pub struct Share("share") {
        /// The cluster.
        cluster as "to": ClusterId;
        /// How much it takes, beside the others; 0 takes nothing.
        weight: Weight = Weight::ONE;
    }
}

section! {
    /// An answer that sends the downstream elsewhere.
    #[derive(Eq)]
    pub struct Redirect("redirect", check = check_redirect) {
        /// Where to: may hold `{host}`, `{path}` and `{query}`.
        to: Template;
        /// 301, 302, 303, 307 or 308.
        status: u16 = 308, in 301..=308;
    }
}

fn check_redirect(redirect: &Redirect, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    // RFC 9110 §15.4: the statuses that send a request elsewhere.
    match redirect.status {
        301 | 302 | 303 | 307 | 308 => Some(()),
        _ => table.contradict("status", "a redirect is 301, 302, 303, 307 or 308"),
    }
}

section! {
    /// An answer of our own.
    #[derive(Eq)]
    pub struct FixedResponse("respond", check = check_respond) {
        /// The status.
        status: u16 = 200, in 200..=599;
        /// The body, as text.
        body: String = String::new(), in 0..=BODY_BYTES_MAX;
        /// Fields beside the length, which is ours to say.
        headers: Fields = Fields::default();
    }
}

fn check_respond(response: &FixedResponse, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    // RFC 9110 §15.3.5, §15.4.5: neither has a body.
    if matches!(response.status, 204 | 304) && !response.body.is_empty() {
        return table.contradict("body", "a 204 or 304 has none");
    }
    Some(())
}

/// A target with places that are filled from the request: `https://{host}{path}{query}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<TemplatePart>);

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// Text as it stands.
    Text(Box<str>),
    /// `{host}`: the host of the request, without its port.
    Host,
    /// `{path}`: the path of the request, normalised. It must not start with `//`, which would
    /// send the downstream to whatever site the request names.
    Path,
    /// `{query}`: the query with its `?`; nothing where there is none.
    Query,
}

impl Template {
    /// The pieces in order.
    pub fn parts(&self) -> &[TemplatePart] {
        &self.0
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            TemplatePart::Text(text) => f.write_str(text),
            TemplatePart::Host => f.write_str("{host}"),
            TemplatePart::Path => f.write_str("{path}"),
            TemplatePart::Query => f.write_str("{query}"),
        })
    }
}

impl FromStr for Template {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Template, BadText> {
        let is_graphic = |byte: u8| (b'!'..=b'~').contains(&byte);
        let starts_right = ["http://", "https://", "/", "{path}"];
        if !starts_right.iter().any(|start| text.starts_with(start)) {
            return Err(BadText("a target starts with \"https://\", \"http://\" or \"/\""));
        }
        // "//host" would be taken for another site (RFC 3986 §4.2).
        if text.starts_with("//") || text.starts_with("/{path}") {
            return Err(BadText("a target that starts with \"//\" is another site's"));
        }
        if !text.bytes().all(is_graphic) || text.len() > TEMPLATE_BYTES_MAX {
            return Err(BadText("a target is at most 2048 bytes of ASCII without spaces"));
        }
        if has_variable(text) {
            return Err(BadText(
                "a variable of another proxy would go out as it stands: \
                 the places are {host}, {path} and {query}",
            ));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, tail)) = rest.split_once('{') {
            if !before.is_empty() {
                parts.push(TemplatePart::Text(before.into()));
            }
            let (name, after) = tail.split_once('}').unwrap_or(("", ""));
            parts.push(match name {
                "host" => TemplatePart::Host,
                "path" => TemplatePart::Path,
                "query" => TemplatePart::Query,
                _ => return Err(BadText("the places are {host}, {path} and {query}")),
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(TemplatePart::Text(rest.into()));
        }
        Ok(Template(parts))
    }
}

text_settings! {
    Template: "where to, such as \"https://{host}{path}{query}\"";
}

/// The keys `to`, `split`, `redirect` and `respond`, of which a route has exactly one.
impl Group for Action {
    fn read(table: &mut TableReader<'_, '_, '_>) -> Option<Action> {
        let to = table.optional::<Option<ClusterId>>("to", || None, &());
        let split = table.optional::<Option<Vec<Share>>>("split", || None, &SPLIT);
        let redirect = table.optional::<Option<Redirect>>("redirect", || None, &());
        let respond = table.optional::<Option<FixedResponse>>("respond", || None, &());
        let (to, split, redirect, respond) = (to?, split?, redirect?, respond?);
        let split = match split {
            Some(shares) => Some(check_split(shares, table)?),
            None => None,
        };
        let mut actions = vec![
            ("to", to.map(|cluster| Action::Forward(Forward::all_to(cluster)))),
            ("split", split.map(Action::Forward)),
            ("redirect", redirect.map(Action::Redirect)),
            ("respond", respond.map(Action::Respond)),
        ];
        actions.retain(|(_, action)| action.is_some());
        if actions.len() > 1 {
            let problem = format!("stands beside `{}`; a route does one thing", actions[0].0);
            return table.contradict(actions[1].0, &problem);
        }
        match actions.pop() {
            Some((_, action)) => action,
            None => table.missing("to", "one of `to`, `split`, `redirect`, `respond` is needed"),
        }
    }

    fn write(&self, out: &mut TableWriter<'_>) {
        match self {
            Action::Forward(forward) => match forward.only() {
                Some(cluster) => out.put("to", &cluster),
                None => out.put("split", &forward.0),
            },
            Action::Redirect(redirect) => out.put("redirect", redirect),
            Action::Respond(response) => out.put("respond", response),
        }
    }

    fn describe(out: &mut TableSchema) {
        let docs = &["The cluster that requests go to."];
        out.optional::<Option<ClusterId>>("to", docs, &None, &());
        let docs = &["Clusters that share the requests by weight."];
        out.optional::<Option<Vec<Share>>>("split", docs, &None, &SPLIT);
        let docs = &["Sends the downstream elsewhere."];
        out.optional::<Option<Redirect>>("redirect", docs, &None, &());
        let docs = &["Answers without asking anybody."];
        out.optional::<Option<FixedResponse>>("respond", docs, &None, &());
    }
}

fn check_split(shares: Vec<Share>, table: &mut TableReader<'_, '_, '_>) -> Option<Forward> {
    let mut clusters: Vec<ClusterId> = shares.iter().map(|share| share.cluster).collect();
    clusters.sort();
    if clusters.windows(2).any(|pair| pair[0] == pair[1]) {
        return table.contradict("split", "one cluster is named twice");
    }
    if shares.iter().all(|share| share.weight.shares() == 0) {
        return table.contradict("split", "every weight is 0: nobody would answer");
    }
    Some(Forward(shares))
}

const SPLIT: ListOf<<Share as Setting>::Allowed> =
    ListOf { item: (), count_min: 2, count_max: 64, bare: false };
const BODY_BYTES_MAX: usize = 64 << 10;
const TEMPLATE_BYTES_MAX: usize = 2_048;
