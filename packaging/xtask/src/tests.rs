//! What the tasks read and write, without running cargo.

use crate::filters::{Record, from_table, record, remap_flags, render, to_table};
use crate::workspace::root;

#[test]
fn a_record_comes_back_from_the_manifest() {
    let written = record(b"\0asm", "1.95.0 (abc 2026-04-14)");
    assert_eq!(written.bytes, 4);
    assert_eq!(written.sha256, "cd5d4935a48c0672cb06407bb443bc0087aff947c6b864bac886982c73b3027f");
    let mut manifest = toml::Table::new();
    manifest.insert("a-filter".into(), toml::Value::Table(to_table(&written)));
    let read: toml::Table = render(&manifest).parse().expect("what we write is TOML");
    assert_eq!(from_table(&read["a-filter"]), Some(written));
}

#[test]
fn a_record_without_a_digest_is_none() {
    let table: toml::Table = "bytes = 4\nrustc = \"1\"".parse().expect("it is TOML");
    assert_eq!(from_table(&toml::Value::Table(table)), None::<Record>);
}

#[test]
fn the_workspace_is_remapped_whatever_its_folder() {
    let flags = remap_flags().expect("rustc is there: it compiled this");
    let ours = format!("--remap-path-prefix={}=/penstock", root().display());
    assert!(flags.contains(&ours), "{flags:?}");
}
