//! Findings as text for people and as JSON for editors.

use std::fmt;

use serde_json::{Value, json};

use crate::findings::{Finding, Findings};

impl Findings {
    /// Every finding as `file:line:column: what`, the line, and a caret under the place.
    pub(crate) fn render(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.list {
            self.render_one(finding, f)?;
        }
        match (self.list.len() + self.left_out, self.left_out) {
            (1, _) => writeln!(f, "1 mistake"),
            (count, 0) => writeln!(f, "{count} mistakes"),
            (count, hidden) => writeln!(f, "{count} mistakes, {hidden} of them not shown"),
        }
    }

    fn render_one(&self, finding: &Finding, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = finding.position;
        write!(f, "{}:{}:{}: ", self.file, position.line, position.column)?;
        f.write_str(&finding.path)?;
        if !finding.path.is_empty() && !finding.found.is_empty() {
            write!(f, " = {}", finding.found)?;
        }
        let colon = if finding.path.is_empty() { "" } else { ": " };
        writeln!(f, "{colon}{}", finding.problem)?;
        let number = position.line.to_string();
        let margin = " ".repeat(number.len());
        if let Some((_, line)) = self.lines.iter().find(|(line, _)| *line == position.line) {
            let (line, column) = window(line, position.column);
            let count = position.count.min(LINE_CHARS_MAX.saturating_sub(column - 1)).max(1);
            writeln!(f, " {margin} |")?;
            writeln!(f, " {number} | {line}")?;
            writeln!(f, " {margin} | {}{}", " ".repeat(column - 1), "^".repeat(count))?;
        }
        if !finding.allowed.is_empty() {
            writeln!(f, " {margin} = allowed: {}", finding.allowed)?;
        }
        if let Some(suggestion) = &finding.suggestion {
            writeln!(f, " {margin} = did you mean `{suggestion}`?")?;
        }
        writeln!(f)
    }

    /// The findings for an editor: an object with `file` and `findings`.
    pub fn to_json(&self) -> Value {
        let findings: Vec<Value> = self.list.iter().map(finding_to_json).collect();
        json!({ "file": self.file, "findings": findings, "left_out": self.left_out })
    }
}

fn finding_to_json(finding: &Finding) -> Value {
    json!({
        "kind": finding.kind.name(),
        "line": finding.position.line,
        "column": finding.position.column,
        "count": finding.position.count,
        "path": finding.path,
        "found": finding.found,
        "problem": finding.problem,
        "allowed": finding.allowed,
        "suggestion": finding.suggestion,
    })
}

/// The part of a line around `column`, and the column in that part. Tabs and other control
/// characters become spaces: the caret stays where it belongs and a terminal gets no escapes.
fn window(line: &str, column: usize) -> (String, usize) {
    let skipped = if column > LINE_CHARS_MAX { column - LINE_CHARS_MAX / 2 } else { 0 };
    let shown = line.chars().skip(skipped).take(LINE_CHARS_MAX);
    let shown = shown.map(|character| if character.is_control() { ' ' } else { character });
    (shown.collect(), column - skipped)
}

/// Longest part of a line that is shown.
const LINE_CHARS_MAX: usize = 100;
