//! What the benches share: the programs in C, compiled.

pub mod sender;

use std::path::Path;
use std::process::Command;

/// A program of this folder compiled, or nothing where there is no clang.
pub fn compiled(source: &str) -> Option<Vec<u8>> {
    let object = std::env::temp_dir().join(format!("penstock-bench-{}.o", std::process::id()));
    let mut clang = Command::new("clang");
    clang.args(["-O2", "-target", "bpf", "-mcpu=v3", "-c", "-o"]).arg(&object);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(source);
    if !clang.arg(source).status().is_ok_and(|status| status.success()) {
        return None;
    }
    let bytes = std::fs::read(&object).expect("clang has written it");
    let _ = std::fs::remove_file(object);
    Some(bytes)
}
