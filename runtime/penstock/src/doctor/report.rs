//! What was found, and how it is shown.

use std::fmt::Write;

use serde::Serialize;

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// It works, and could be better.
    Warn,
    /// It does not work.
    Fail,
    /// We may not look, or can't.
    Unknown,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What it belongs to.
    pub(crate) subject: &'static str,
    pub(crate) level: Level,
    /// What was found.
    pub(crate) what: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) advice: String,
}

/// All of them, in the order in which they were looked at.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    /// It is as it should be.
    pub(crate) fn ok(&mut self, subject: &'static str, what: impl Into<String>) {
        self.put(subject, Level::Ok, what, "");
    }

    /// As `level` says.
    pub(crate) fn put(
        &mut self,
        subject: &'static str,
        level: Level,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let (what, advice) = (what.into(), advice.into());
        self.findings.push(Finding { subject, level, what, advice });
    }

    /// Whether something does not work.
    pub(crate) fn has_failures(&self) -> bool {
        self.count(Level::Fail) > 0
    }

    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// A page for people.
    pub(crate) fn to_text(&self) -> String {
        let mut out = String::new();
        for Finding { subject, level, what, advice } in &self.findings {
            let level = match level {
                Level::Ok => "ok",
                Level::Warn => "warn",
                Level::Fail => "FAIL",
                Level::Unknown => "?",
            };
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(out, "{level:<4}  {subject:<13}  {what}");
            if !advice.is_empty() {
                let _ = writeln!(out, "      {:<13}  -> {advice}", "");
            }
        }
        let [ok, warn, fail, unknown] =
            [Level::Ok, Level::Warn, Level::Fail, Level::Unknown].map(|level| self.count(level));
        let _ = writeln!(out, "{ok} ok, {warn} warn, {fail} fail, {unknown} not looked at");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::{Level, Report};

    #[test]
    fn a_finding_is_a_line_and_what_to_do_another() {
        let mut report = Report::default();
        report.ok("kernel", "Linux 6.18");
        assert!(!report.has_failures());
        report.put("bpf", Level::Unknown, "pins", "look as root");
        report.put("ports", Level::Fail, ":80 is taken", "");
        assert!(report.has_failures());
        let expected = "ok    kernel         Linux 6.18\n\
                        ?     bpf            pins\n                     -> look as root\n\
                        FAIL  ports          :80 is taken\n\
                        1 ok, 0 warn, 1 fail, 1 not looked at\n";
        assert_eq!(report.to_text(), expected);
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["findings"][1]["level"], "unknown");
    }
}
