//! Rules about Rust source: heads, lengths, words, names, `unsafe`.

use crate::lexer::{code_of, is_word};
use crate::tree::File;
use crate::{
    BANS, EMPTY_NAMES, FILE_LINES_MAX, FILE_LINES_WANTED_MAX, Finding, LINE_COLUMNS_MAX,
    TOKIO_TRAITS_ONLY, Tree, UNSAFE_ROOMS,
};

/// Every file says first what it is for.
pub(crate) fn heads(tree: &Tree) -> Vec<Finding> {
    let headless = tree.rust().filter(|file| !file.text().starts_with("//! "));
    headless
        .map(|file| Finding::new(&file.path, 1, "begins without `//! what it is for`"))
        .collect()
}

/// No file is longer than one can keep in mind.
pub(crate) fn file_lengths(tree: &Tree) -> Vec<Finding> {
    let long = tree.rust().filter(|file| file.text().lines().count() > FILE_LINES_MAX);
    long.map(|file| {
        let why = format!("more than {FILE_LINES_MAX} lines: find the second subject in it");
        Finding::new(&file.path, FILE_LINES_MAX + 1, why)
    })
    .collect()
}

/// Files that are longer than wanted, as `(path, lines)`. No finding: a hint.
pub(crate) fn long_files(tree: &Tree) -> Vec<(&str, usize)> {
    tree.rust()
        .map(|file| (file.path.as_str(), file.text().lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_WANTED_MAX)
        .collect()
}

/// No line runs out of the window.
pub(crate) fn line_lengths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        for (line, number) in file.text().lines().zip(1..) {
            let columns = line.chars().count();
            if columns > LINE_COLUMNS_MAX {
                let why = format!("{columns} columns, at most {LINE_COLUMNS_MAX}");
                findings.push(Finding::new(&file.path, number, why));
            }
        }
    }
    findings
}

/// Words that must not be in code, outside the places where they may.
pub(crate) fn banned_words(tree: &Tree) -> Vec<Finding> {
    each_line_of_code(tree, |file, line, report| {
        for ban in BANS.iter().filter(|ban| !file.is_in(ban.places)) {
            if has_word(line, ban.word) {
                report(format!("`{}`: {}", ban.word, ban.why));
            }
        }
    })
}

/// Names that say nothing: files, modules, types; and functions that only say `get`.
pub(crate) fn names(tree: &Tree) -> Vec<Finding> {
    let mut findings = each_line_of_code(tree, |_, line, report| {
        let words = line.split(|letter| !is_word(letter)).filter(|word| !word.is_empty());
        let words: Vec<&str> = words.collect();
        for pair in words.windows(2) {
            match *pair {
                ["fn", name] if name.starts_with("get_") => {
                    report(format!("`{name}`: a getter is named after what it gives"));
                }
                ["struct" | "enum" | "trait" | "type", name]
                    if name.ends_with("Manager") || name.ends_with("Helper") =>
                {
                    report(format!("`{name}` says nothing: name what it does"));
                }
                ["mod", name] if EMPTY_NAMES.contains(&name) => {
                    report(format!("module `{name}` has no subject"));
                }
                _ => {}
            }
        }
    });
    findings.sort();
    findings
}

/// A test that is left out says why.
pub(crate) fn ignored_tests(tree: &Tree) -> Vec<Finding> {
    each_line_of_code(tree, |_, line, report| {
        if line.contains("#[ignore]") {
            report("`#[ignore]` without a reason".to_owned());
        }
    })
}

/// On the data plane tokio is there for its I/O traits alone.
pub(crate) fn tokio_on_the_data_plane(tree: &Tree) -> Vec<Finding> {
    each_line_of_code(tree, |file, line, report| {
        if !file.is_in(TOKIO_TRAITS_ONLY) {
            return;
        }
        let mut rest = line;
        while let Some(at) = word_at(rest, "tokio") {
            rest = &rest[at + "tokio".len()..];
            if !rest.starts_with("::io") {
                report("of tokio the data plane sees `tokio::io` only".to_owned());
            }
        }
    })
}

/// `unsafe` stays in its rooms.
pub(crate) fn unsafe_code(tree: &Tree) -> Vec<Finding> {
    each_line_of_code(tree, |file, line, report| {
        let allowed = unsafe_room(&file.path);
        // `#[unsafe(no_mangle)]` of a macro's output is quoted in the macro's source.
        if !allowed && has_word(line, "unsafe") {
            report("`unsafe` outside the rooms that may hold it".to_owned());
        }
    })
}

/// Crate roots outside of those rooms forbid it, so that a macro can't bring it in either.
pub(crate) fn unsafe_forbidden(tree: &Tree) -> Vec<Finding> {
    let roots = tree.rust().filter(|file| is_crate_root(&file.path));
    let open = roots.filter(|file| {
        // A filter's exports are made by the SDK's macro and are `#[unsafe(no_mangle)]`.
        !unsafe_room(&file.path)
            && !file.is_in(&["filters/", "benches/filter/", "filters-sdk/template/"])
            && !forbids_unsafe(&code_of(file.text()))
    });
    open.map(|file| Finding::new(&file.path, 1, "a crate root without #![forbid(unsafe_code)]"))
        .collect()
}

/// A room that is laid out but empty has nothing to forbid.
fn forbids_unsafe(code: &str) -> bool {
    matches!(code.trim(), "" | "fn main() {}") || code.contains("#![forbid(unsafe_code)]")
}

fn unsafe_room(path: &str) -> bool {
    UNSAFE_ROOMS.iter().any(|(room, _)| path.starts_with(&format!("{room}/src/")))
}

fn is_crate_root(path: &str) -> bool {
    let in_src = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
    in_src || path.contains("/src/bin/")
}

/// Calls `rule` for each line of code without comments and literals.
fn each_line_of_code(
    tree: &Tree,
    rule: impl Fn(&File, &str, &mut dyn FnMut(String)),
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        for (line, number) in code_of(file.text()).lines().zip(1..) {
            let mut report = |why| findings.push(Finding::new(&file.path, number, why));
            rule(file, line, &mut report);
        }
    }
    findings
}

/// Whether `word` stands in `line` as a whole word.
fn has_word(line: &str, word: &str) -> bool {
    word_at(line, word).is_some()
}

fn word_at(line: &str, word: &str) -> Option<usize> {
    let mut starts = line.match_indices(word).map(|(at, _)| at);
    starts.find(|at| {
        let goes_on_before = line[..*at].ends_with(is_word);
        // After `todo!` anything may follow, after `Mutex` no letter.
        let goes_on_after = word.ends_with(is_word) && line[at + word.len()..].starts_with(is_word);
        !goes_on_before && !goes_on_after
    })
}
