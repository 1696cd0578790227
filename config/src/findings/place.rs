//! From byte offsets to lines and columns, and from raw findings to those that are shown.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::config::syntax;
use crate::findings::{FINDINGS_MAX, Finding, FindingKind, Findings, Position};
use crate::grammar::reader::RawFinding;

/// The lines of a text.
pub(crate) struct Places<'t> {
    text: &'t [u8],
    /// Where each line starts.
    starts: Vec<usize>,
}

impl<'t> Places<'t> {
    pub(crate) fn new(text: &'t [u8]) -> Places<'t> {
        let after_breaks = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let starts = std::iter::once(0).chain(after_breaks.map(|(offset, _)| offset + 1));
        Places { text, starts: starts.collect() }
    }

    /// Adds what the parser found to what the reader found.
    ///
    /// Where the text is broken, what seems to be missing or undefined may stand in the broken
    /// part: those findings would be noise, and so is whatever else is on a broken line.
    pub(crate) fn join_syntax(
        &self,
        errors: Vec<toml::de::Error>,
        mut findings: Vec<RawFinding>,
    ) -> Vec<RawFinding> {
        if errors.is_empty() {
            return findings;
        }
        let is_repeated = |error: &toml::de::Error| error.message() == DUPLICATE;
        let lines = errors.iter().any(is_repeated).then(|| self.begun());
        let problems = errors.iter().filter_map(|error| {
            let span = error.span().unwrap_or(0..0);
            let problem = error.message().replace(char::is_control, ", ");
            let Some(lines) = lines.as_ref().filter(|_| is_repeated(error)) else {
                return Some(syntax(span, problem));
            };
            let Begun { header, first } = lines[self.line_of(span.start)];
            // A table that is there twice is one mistake, and what it holds none of its own.
            let follows = header.is_some_and(|header| lines[header].first.is_some());
            let problem = first.map_or(problem, |first| {
                format!("{DUPLICATE}: it stands in line {} already", first + 1)
            });
            (!follows).then(|| syntax(span, problem))
        });
        let problems: Vec<RawFinding> = problems.take(FINDINGS_MAX).collect();
        let broken: Vec<usize> = problems.iter().map(|raw| self.line_of(raw.span.start)).collect();
        findings.retain(|raw| {
            let is_sure = !matches!(raw.kind, FindingKind::Missing | FindingKind::Reference);
            is_sure && !broken.contains(&self.line_of(raw.span.start))
        });
        findings.extend(problems);
        findings
    }

    /// What each line begins.
    fn begun(&self) -> Vec<Begun> {
        let mut known: BTreeMap<(usize, &[u8]), usize> = BTreeMap::new();
        let (mut header, mut table) = (None, 0);
        let lines = (0..self.starts.len()).map(|line| {
            let Some(begin) = begin_of(self.line_bytes(line)) else {
                if self.line_bytes(line).trim_ascii_start().starts_with(b"[") {
                    (header, table) = (Some(line), line);
                }
                return Begun { header, first: None };
            };
            if !begin.starts_with(b"[") {
                let first = *known.entry((table, begin)).or_insert(line);
                return Begun { header, first: Some(first).filter(|&first| first < line) };
            }
            let first = *known.entry((0, begin)).or_insert(line);
            (header, table) = (Some(line), line);
            Begun { header: None, first: Some(first).filter(|&first| first < line) }
        });
        lines.collect()
    }

    /// Sorts findings by kind and place, and gives them lines and columns.
    pub(crate) fn findings(
        &self,
        file: &str,
        mut raw: Vec<RawFinding>,
        left_out: usize,
    ) -> Findings {
        raw.sort_by(|a, b| (a.kind, a.span.start, &a.path).cmp(&(b.kind, b.span.start, &b.path)));
        let mut lines: Vec<usize> = raw.iter().map(|raw| self.line_of(raw.span.start)).collect();
        lines.sort_unstable();
        lines.dedup();
        let lines = lines.into_iter().map(|line| (line + 1, self.line_text(line))).collect();
        let left_out = left_out + raw.len().saturating_sub(FINDINGS_MAX);
        raw.truncate(FINDINGS_MAX);
        let list = raw.into_iter().map(|raw| self.finding(raw)).collect();
        Findings { file: file.to_owned(), list, left_out, lines }
    }

    fn finding(&self, raw: RawFinding) -> Finding {
        Finding {
            kind: raw.kind,
            path: raw.path,
            position: self.position(raw.span),
            found: raw.found,
            problem: raw.problem,
            allowed: raw.allowed,
            suggestion: raw.suggestion,
        }
    }

    fn position(&self, span: Range<usize>) -> Position {
        let start = span.start.min(self.text.len());
        let line = self.line_of(start);
        let line_start = self.starts[line];
        let line_end = line_start + self.line_bytes(line).len();
        let characters = |range: Range<usize>| {
            self.text.get(range).map_or(0, |bytes| String::from_utf8_lossy(bytes).chars().count())
        };
        let column = characters(line_start..start) + 1;
        let count = characters(start..span.end.clamp(start, line_end.max(start))).max(1);
        Position { line: line + 1, column, count }
    }

    /// The line that `offset` is in, from 0.
    fn line_of(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    fn line_bytes(&self, line: usize) -> &[u8] {
        let end = self.starts.get(line + 1).map_or(self.text.len(), |next| next - 1);
        let bytes = self.text.get(self.starts[line]..end).unwrap_or(&[]);
        bytes.strip_suffix(b"\r").unwrap_or(bytes)
    }

    fn line_text(&self, line: usize) -> String {
        let bytes = self.line_bytes(line);
        String::from_utf8_lossy(&bytes[..bytes.len().min(LINE_BYTES_MAX)]).into_owned()
    }
}

/// Longest part of a line that is kept for showing.
const LINE_BYTES_MAX: usize = 4_096;

/// What the parser says of a key, or a table, that stands there twice.
const DUPLICATE: &str = "duplicate key";

/// What a line begins: a table or a key.
#[derive(Clone, Copy)]
struct Begun {
    /// The line of the header that it stands under.
    header: Option<usize>,
    /// The line that begins with the same, above.
    first: Option<usize>,
}

/// The header of a table, but none of an array, or the key of a line.
fn begin_of(line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii();
    if line.starts_with(b"[[") {
        return None;
    }
    let last = if line.starts_with(b"[") { b']' } else { b'=' };
    let end = line.iter().position(|&byte| byte == last)?;
    Some(line[..end].trim_ascii_end())
}
