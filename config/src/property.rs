//! What holds for any bytes at all: shared by the seeded test here and the fuzz target.

use crate::{Config, FINDINGS_MAX, UncheckedFiles};

/// Reads `text` and checks what has to hold: either there are findings, each at a place in the
/// text, or the config that came out reads the same when it is written back.
///
/// # Panics
/// If it does not hold; nothing else may panic.
pub fn reading_is_sound(text: &[u8]) {
    match Config::parse("fuzz.toml", text, &UncheckedFiles) {
        Ok(config) => {
            let written = config.to_toml();
            match Config::parse("written.toml", written.as_bytes(), &UncheckedFiles) {
                Ok(again) => assert_eq!(config, again, "{written}"),
                Err(findings) => panic!("{findings}\n{written}"),
            }
        }
        Err(findings) => {
            assert!(!findings.list.is_empty());
            assert!(findings.list.len() <= FINDINGS_MAX);
            let lines = 1 + text.iter().filter(|byte| **byte == b'\n').count();
            for finding in &findings.list {
                assert!((1..=lines).contains(&finding.position.line), "{finding:?}");
                assert!(finding.position.column >= 1 && finding.position.count >= 1);
                assert!(!finding.problem.is_empty());
            }
            assert!(findings.to_string().lines().all(|line| !line.contains('\x1b')));
            assert!(findings.to_json().is_object());
        }
    }
}
