//! What the tasks read and write, without running cargo.

use std::path::Path;

use crate::ebpf;
use crate::filters::{Record, from_table, record, remap_flags, render, to_table};
use crate::workspace::{root, target};

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

#[test]
fn an_object_comes_back_from_its_manifest() {
    let written = ebpf::Record {
        bytes: 3,
        sha256: "00".into(),
        rustc: "1.95.0 (abc 2026-04-14)".into(),
        bpf_linker: "0.13.0".into(),
        sources: vec!["runtime/xdp/ebpf/src/main.rs".into()],
        sources_sha256: "11".into(),
    };
    let read: toml::Table = ebpf::render(&written).parse().expect("what we write is TOML");
    assert_eq!(ebpf::from_table(&read), Some(written));
}

#[test]
fn sources_are_ours_alone_with_their_manifests() {
    let listed = "/t/penstock: /tree/runtime/l4/src/lib.rs /tree/runtime/xdp/ebpf/src/main.rs \
                  /elsewhere/core/src/lib.rs\n\n/tree/runtime/l4/src/lib.rs:\n";
    let found = ebpf::sources(listed, Path::new("/tree"));
    let expected = [
        "runtime/l4/src/lib.rs",
        "runtime/xdp/ebpf/Cargo.lock",
        "runtime/xdp/ebpf/Cargo.toml",
        "runtime/xdp/ebpf/exports",
        "runtime/xdp/ebpf/src/main.rs",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_crate_is_called_the_same_wherever_it_is() {
    let asked = ["-C", "metadata=0123456789abcdef", "-C", "extra-filename=-0123456789abcdef"];
    let told = asked.map(|one| crate::rustc::renamed(one.into(), "penstock-l4-0.1.0"));
    let expected = ["-C", "metadata=penstock-l4-0.1.0", "-C", "extra-filename=-0123456789abcdef"];
    assert_eq!(told, expected.map(std::ffi::OsString::from));
}

#[test]
fn another_byte_in_a_source_is_another_digest() {
    let folder = target().join(format!("xtask-test-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    let digest_of = |text: &str| {
        std::fs::write(folder.join("a.rs"), text).expect("a file can be written");
        ebpf::sources_digest(&folder, &["a.rs".into()]).expect("it is there")
    };
    assert_eq!(digest_of("one"), digest_of("one"));
    assert_ne!(digest_of("one"), digest_of("two"));
    assert!(ebpf::sources_digest(&folder, &["gone.rs".into()]).is_err());
    std::fs::remove_dir_all(&folder).expect("it was there");
}
