//! Walks the parsed TOML with its positions and collects every mistake instead of stopping.
//!
//! A reading function answers `None` when it has reported a finding; the walk goes on with the
//! next key. No `Config` leaves this crate while there is a finding.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::files::Files;
use crate::findings::suggest::nearest;
use crate::findings::{FINDINGS_MAX, FindingKind};
use crate::grammar::later;
use crate::grammar::names::{ClusterId, FilterId, Names};
use crate::grammar::setting::Setting;
use crate::grammar::tree::{key_text, write_text};
use crate::values::address::ListenAddress;
use crate::values::vip::Transport;

/// A value and where it is.
pub(crate) type Node<'a> = &'a Spanned<DeValue<'a>>;

/// A mistake before its place was turned into line and column.
pub(crate) struct RawFinding {
    pub(crate) kind: FindingKind,
    pub(crate) path: String,
    pub(crate) span: Range<usize>,
    pub(crate) found: String,
    pub(crate) problem: String,
    pub(crate) allowed: String,
    pub(crate) suggestion: Option<String>,
    shows_value: bool,
}

impl RawFinding {
    /// A finding about what is at `span`. Its path is where the reader is when it is reported.
    pub(crate) fn new(
        kind: FindingKind,
        span: Range<usize>,
        problem: impl Into<String>,
    ) -> RawFinding {
        RawFinding {
            kind,
            path: String::new(),
            span,
            found: String::new(),
            problem: problem.into(),
            allowed: String::new(),
            suggestion: None,
            shows_value: false,
        }
    }

    /// Repeats what stands at the place.
    pub(crate) fn with_value(self) -> RawFinding {
        RawFinding { shows_value: true, ..self }
    }

    /// Says what would be right.
    pub(crate) fn with_allowed(self, words: impl Iterator<Item = String>) -> RawFinding {
        RawFinding { allowed: words.collect::<Vec<_>>().join(", "), ..self }
    }

    /// Guesses what was meant.
    pub(crate) fn with_suggestion(self, suggestion: Option<String>) -> RawFinding {
        RawFinding { suggestion, ..self }
    }
}

/// One walk over one document.
pub(crate) struct Reader<'a> {
    pub(crate) source: &'a str,
    pub(crate) names: Names,
    pub(crate) files: &'a dyn Files,
    pub(crate) findings: Vec<RawFinding>,
    pub(crate) left_out: usize,
    /// The keys that lead to where we are, written with dots.
    pub(crate) path: String,
    /// What is listened on so far.
    pub(crate) claims: Vec<Claim>,
    /// Clusters that packets are passed on to, as the text has it.
    passed_to: Vec<String>,
}

/// An address that something of the config has.
pub(crate) struct Claim {
    address: ListenAddress,
    transport: Transport,
    /// Sockets are bound to it, by which it may be taken with others.
    is_bound: bool,
    /// The key that claims it.
    path: String,
}

impl Claim {
    fn contradicts(&self, other: &Claim) -> bool {
        // What is passed on never meets a socket: a VIP beside ":80" is nobody's mistake.
        let overlap = match self.is_bound && other.is_bound {
            true => self.address.overlaps(&other.address),
            false => self.address == other.address,
        };
        self.transport == other.transport && overlap
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        source: &'a str,
        names: Names,
        passed_to: Vec<String>,
        files: &'a dyn Files,
    ) -> Reader<'a> {
        Reader {
            source,
            names,
            files,
            findings: Vec::new(),
            left_out: 0,
            path: String::new(),
            claims: Vec::new(),
            passed_to,
        }
    }

    /// Runs `read` one key deeper.
    pub(crate) fn below<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(&key_text(key));
        let result = read(self);
        self.path.truncate(length);
        result
    }

    /// Runs `read` one list item deeper.
    pub(crate) fn at<T>(&mut self, index: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        let result = read(self);
        self.path.truncate(length);
        result
    }

    /// Reports `problem` of the value at `node`.
    pub(crate) fn refuse<T>(&mut self, node: Node<'_>, problem: impl Into<String>) -> Option<T> {
        self.report(RawFinding::new(FindingKind::Value, node.span(), problem).with_value())
    }

    /// Reports that `node` is not one of `allowed` words, and guesses which was meant.
    pub(crate) fn refuse_word<T>(
        &mut self,
        node: Node<'_>,
        word: &str,
        allowed: &[&'static str],
    ) -> Option<T> {
        let problem = "not one of the allowed words";
        let finding = RawFinding::new(FindingKind::Value, node.span(), problem)
            .with_value()
            .with_allowed(allowed.iter().map(|word| quoted(word)))
            .with_suggestion(nearest(word, allowed.iter().copied()).map(quoted));
        self.report(finding)
    }

    /// Reports that two settings do not go together, at `span`.
    pub(crate) fn contradict<T>(
        &mut self,
        span: Range<usize>,
        problem: impl Into<String>,
    ) -> Option<T> {
        self.report(RawFinding::new(FindingKind::Reference, span, problem).with_value())
    }

    /// Reports a file that is missing or wrong.
    pub(crate) fn refuse_file<T>(
        &mut self,
        span: Range<usize>,
        problem: impl Into<String>,
    ) -> Option<T> {
        self.report(RawFinding::new(FindingKind::File, span, problem).with_value())
    }

    /// Keeps a finding about where the reader is, or counts it when there are too many.
    pub(crate) fn report<T>(&mut self, finding: RawFinding) -> Option<T> {
        if self.findings.len() >= FINDINGS_MAX {
            self.left_out += 1;
            return None;
        }
        let found =
            if finding.shows_value { self.excerpt(finding.span.clone()) } else { String::new() };
        self.findings.push(RawFinding { path: self.path.clone(), found, ..finding });
        None
    }

    /// The text of a node, or a finding that says what belongs there.
    pub(crate) fn text<'n>(&mut self, node: Node<'n>, expected: &str) -> Option<&'n str> {
        match node.get_ref().as_str() {
            Some(text) => Some(text),
            None => self.refuse(node, wrong_type(expected, node)),
        }
    }

    /// The cluster that `node` names.
    pub(crate) fn cluster(&mut self, node: Node<'_>) -> Option<ClusterId> {
        let name = self.text(node, "the name of a cluster")?;
        let found = self.names.clusters.binary_search_by(|known| known.as_str().cmp(name));
        match found {
            Ok(index) => Some(ClusterId(index as u32)),
            Err(_) => self.refuse_name(node, name, "cluster"),
        }
    }

    /// The filter that `node` names.
    pub(crate) fn filter(&mut self, node: Node<'_>) -> Option<FilterId> {
        let name = self.text(node, "the name of a filter")?;
        let found = self.names.filters.binary_search_by(|known| known.as_str().cmp(name));
        match found {
            Ok(index) => Some(FilterId(index as u32)),
            Err(_) => self.refuse_name(node, name, "filter"),
        }
    }

    fn refuse_name<T>(&mut self, node: Node<'_>, name: &str, kind: &str) -> Option<T> {
        if self.findings.len() >= FINDINGS_MAX {
            self.left_out += 1;
            return None;
        }
        let known = if kind == "cluster" { &self.names.clusters } else { &self.names.filters };
        // Comparing every wrong name with every defined one would be quadratic.
        let compared = known.iter().map(String::as_str).take(NAMES_COMPARED_MAX);
        let problem = format!("there is no [{kind}.{}]", key_text(name));
        let finding = RawFinding::new(FindingKind::Reference, node.span(), problem)
            .with_value()
            .with_allowed(known.iter().take(NAMES_SHOWN_MAX).map(|name| quoted(name)))
            .with_suggestion(nearest(name, compared).map(quoted));
        self.report(finding)
    }

    /// Takes note that the current key listens on `address`; no two may overlap.
    pub(crate) fn claim(&mut self, node: Node<'_>, address: &ListenAddress) {
        self.claim_for(node, address, Transport::Tcp, true);
    }

    /// The same for one transport, and for packets that no socket is bound for.
    pub(crate) fn claim_for(
        &mut self,
        node: Node<'_>,
        address: &ListenAddress,
        transport: Transport,
        is_bound: bool,
    ) {
        let path = self.path.clone();
        let claim = Claim { address: address.clone(), transport, is_bound, path };
        if let Some(taken) = self.claims.iter().find(|taken| taken.contradicts(&claim)) {
            let verb = if taken.is_bound { "listens on" } else { "has" };
            let problem = format!("{} {verb} {} already", taken.path, taken.address);
            self.contradict::<()>(node.span(), problem);
        }
        self.claims.push(claim);
    }

    /// Whether what is read is of a cluster that packets are passed on to.
    pub(crate) fn is_passed_to(&self) -> bool {
        let name = self.path.strip_prefix("cluster.").and_then(|rest| rest.split('.').next());
        name.is_some_and(|name| self.passed_to.iter().any(|cluster| cluster == name))
    }

    /// The text at `span`, on one line and not too long.
    fn excerpt(&self, span: Range<usize>) -> String {
        let text = self.source.get(span).unwrap_or("");
        let mut line: String = text.chars().take_while(|c| *c != '\n').collect();
        if line.len() < text.trim_end().len() || line.chars().count() > EXCERPT_CHARS_MAX {
            line = line.chars().take(EXCERPT_CHARS_MAX).collect();
            line.push_str("...");
        }
        line.retain(|character| !character.is_control());
        line
    }
}

/// One table being read: it knows which keys were asked for, and so which are unknown.
pub(crate) struct TableReader<'r, 'a, 't> {
    pub(crate) reader: &'r mut Reader<'a>,
    table: &'t DeTable<'t>,
    span: Range<usize>,
    known: Vec<&'static str>,
}

impl<'r, 'a, 't> TableReader<'r, 'a, 't> {
    /// Starts on `table`, which is at `span`.
    pub(crate) fn new(
        reader: &'r mut Reader<'a>,
        table: &'t DeTable<'t>,
        span: Range<usize>,
    ) -> TableReader<'r, 'a, 't> {
        TableReader { reader, table, span, known: Vec::new() }
    }

    /// Starts on the table at `node`, or says that none is there.
    pub(crate) fn open(
        reader: &'r mut Reader<'a>,
        node: Node<'t>,
    ) -> Option<TableReader<'r, 'a, 't>> {
        match node.get_ref().as_table() {
            Some(table) => Some(TableReader::new(reader, table, node.span())),
            None => reader.refuse(node, wrong_type("a table", node)),
        }
    }

    /// The name of the block: the last key that led here.
    pub(crate) fn name(&self) -> &str {
        self.reader.path.rsplit('.').next().unwrap_or("")
    }

    /// The value of `key`, if it is there. The key counts as known from now on.
    pub(crate) fn node(&mut self, key: &'static str) -> Option<Node<'t>> {
        self.known.push(key);
        self.table.get(key)
    }

    /// The value of `key` again, for checks of the finished section.
    pub(crate) fn peek(&self, key: &str) -> Option<Node<'t>> {
        self.table.get(key)
    }

    /// Where `key` is, or the table where it is not.
    pub(crate) fn span_of(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or(self.span.clone(), Spanned::span)
    }

    /// Where item `index` of the list `key` is.
    pub(crate) fn span_of_item(&self, key: &str, index: usize) -> Range<usize> {
        let list = self.table.get(key).and_then(|node| node.get_ref().as_array());
        let item = list.and_then(|list| list.get(index));
        item.map_or_else(|| self.span_of(key), Spanned::span)
    }

    /// The setting `key`, or `default` where it is not set; `None` where it is wrong.
    pub(crate) fn optional<T: Setting>(
        &mut self,
        key: &'static str,
        default: impl FnOnce() -> T,
        allowed: &T::Allowed,
    ) -> Option<T> {
        match self.node(key) {
            Some(node) => self.reader.below(key, |reader| T::read(node, allowed, reader)),
            None => Some(default()),
        }
    }

    /// The setting `key`, which has to be there.
    pub(crate) fn required<T: Setting>(
        &mut self,
        key: &'static str,
        allowed: &T::Allowed,
    ) -> Option<T> {
        match self.node(key) {
            Some(node) => self.reader.below(key, |reader| T::read(node, allowed, reader)),
            None => self.missing(key, "this key has to be set"),
        }
    }

    /// Reports that `key` is not there.
    pub(crate) fn missing<T>(&mut self, key: &str, problem: &str) -> Option<T> {
        let finding = RawFinding::new(FindingKind::Missing, self.span.clone(), problem);
        self.reader.below(key, |reader| reader.report(finding))
    }

    /// Reports that `key` does not go with the rest of the table.
    pub(crate) fn contradict<T>(&mut self, key: &str, problem: &str) -> Option<T> {
        let span = self.span_of(key);
        self.reader.below(key, |reader| reader.contradict(span, problem.to_owned()))
    }

    /// Reports every key that nobody asked for. `kind` is the table's name in the language.
    pub(crate) fn close(self, kind: &str) {
        let TableReader { reader, table, span, known } = self;
        if table.keys().any(|key| later::key(kind, key.get_ref()).is_some()) {
            // What seems to be missing may be said by a key of a later version: `discover`
            // stands in for `endpoints`.
            let is_missing = |raw: &RawFinding| raw.kind == FindingKind::Missing;
            reader.findings.retain(|raw| !is_missing(raw) || raw.span != span);
        }
        for (key, _) in table.iter().filter(|(key, _)| !known.contains(&&**key.get_ref())) {
            let word: &str = key.get_ref();
            let finding = match later::key(kind, word) {
                Some(what) => {
                    let problem = format!("{what}: not in this version");
                    RawFinding::new(FindingKind::NotInThisVersion, key.span(), problem)
                }
                None => RawFinding::new(FindingKind::UnknownKey, key.span(), "unknown key")
                    .with_allowed(known.iter().map(|key| (*key).to_owned()))
                    .with_suggestion(nearest(word, known.iter().copied()).map(str::to_owned)),
            };
            reader.below(word, |reader| reader.report::<()>(finding));
        }
    }
}

/// "expected a table, found a string".
pub(crate) fn wrong_type(expected: &str, node: Node<'_>) -> String {
    let found = match node.get_ref() {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    format!("expected {expected}, found {found}")
}

/// As it would be written: a name out of the file may hold what a terminal would obey.
fn quoted(word: &str) -> String {
    let mut out = String::new();
    write_text(word, &mut out);
    out
}

/// How many defined names a wrong one is compared with.
const NAMES_COMPARED_MAX: usize = 1_000;

/// How many defined names a finding lists.
const NAMES_SHOWN_MAX: usize = 20;

/// Longest value that a finding repeats.
const EXCERPT_CHARS_MAX: usize = 60;
