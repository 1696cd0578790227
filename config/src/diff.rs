//! What differs between two configs, key by key.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::config::Config;
use crate::grammar::tree::{Tree, key_text};

/// One key that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The key, as in `cluster.api.limits.queued`.
    pub path: String,
    /// What it was; `None` where the key is new.
    pub before: Option<Tree>,
    /// What it is now; `None` where the key is gone.
    pub after: Option<Tree>,
}

impl Change {
    /// The change for the admin API.
    pub fn to_json(&self) -> Value {
        let kind = match (&self.before, &self.after) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        let side = |tree: &Option<Tree>| tree.as_ref().map_or(Value::Null, Tree::to_json);
        json!({
            "kind": kind,
            "path": self.path,
            "before": side(&self.before),
            "after": side(&self.after),
        })
    }
}

/// Every key that differs, sorted by path. Defaults count as set: what is compared is what the
/// configs mean, not how they are written.
///
/// Lists are compared as wholes, but for routes, which are compared one by one by their place.
pub fn diff(before: &Config, after: &Config) -> Vec<Change> {
    let (before, after) = (leaves_of(before), leaves_of(after));
    let mut paths: Vec<&String> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    let change = |path: &String| {
        let (before, after) = (before.get(path).cloned(), after.get(path).cloned());
        (before != after).then(|| Change { path: path.clone(), before, after })
    };
    paths.into_iter().filter_map(change).collect()
}

fn leaves_of(config: &Config) -> BTreeMap<String, Tree> {
    let mut leaves = BTreeMap::new();
    collect(&mut String::new(), config.to_tree(), &mut leaves);
    leaves
}

fn collect(path: &mut String, tree: Tree, leaves: &mut BTreeMap<String, Tree>) {
    let length = path.len();
    match tree {
        Tree::Table(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(&key_text(&key));
                collect(path, value, leaves);
                path.truncate(length);
            }
        }
        Tree::List(items) if items.iter().any(|item| matches!(item, Tree::Table(_))) => {
            for (index, value) in items.into_iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                collect(path, value, leaves);
                path.truncate(length);
            }
        }
        leaf => {
            leaves.insert(path.clone(), leaf);
        }
    }
}
