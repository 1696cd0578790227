//! A config tried without putting it in force: its filters start once, and what a start would
//! refuse after reading it is found, each at its place.
//!
//! Beside a running process it touches nothing of it: it has filters of its own, and no shard.

use std::path::Path;

use penstock_config::{AccessLog, Config, FindingKind, Findings, Flaw, LogTarget};

use crate::DiskFiles;
use crate::clock::Clock;
use crate::filters::Loader;

/// Checks `text`, which the caller calls `file`, as far as that goes without serving: certificates
/// that are over count as wrong, as for a reload. As slow as its filters take to compile.
///
/// # Errors
/// Its mistakes.
pub fn check(file: &str, text: &[u8], files: &DiskFiles) -> Result<Config, Findings> {
    let config = Config::parse(file, text, &files.clone().judging_dates())?;
    match Findings::of(file, text, flaws(&config, files)) {
        None => Ok(config),
        Some(findings) => Err(findings),
    }
}

fn flaws(config: &Config, files: &DiskFiles) -> Vec<Flaw> {
    let mut loader = Loader::new(1, Clock::start());
    let mut found = Vec::new();
    for filter in loader.load_each(config, files, None) {
        found.extend(filter.err().map(|bad| bad.flaw));
    }
    found.extend(log_flaw(&config.observe.access_log));
    found
}

/// Whether we may write to the log is not asked: who checks need not be who serves.
fn log_flaw(log: &AccessLog) -> Option<Flaw> {
    let (AccessLog::Json(LogTarget::File(path)) | AccessLog::Text(LogTarget::File(path))) = log
    else {
        return None;
    };
    let folder = path.parent().unwrap_or(Path::new("/"));
    let problem = match folder.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "there is no folder",
        Ok(facts) if !facts.is_dir() => "this is no folder:",
        _ => return None,
    };
    Some(Flaw {
        kind: FindingKind::File,
        keys: vec!["observe".to_owned(), "access_log".to_owned()],
        problem: format!("{problem} {}", folder.display()),
    })
}
