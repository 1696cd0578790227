//! `penstock config show | schema`: a config as it was understood, and the language.

use penstock_config::{Config, Tree, UncheckedFiles, schema as language};
use penstock_control::Source;

use crate::Failed;
use crate::arguments::Show;
use crate::output::{show, show_line};

/// Shows the config; secrets in it are shown, too: whoever can read the file knows them.
pub(crate) fn run(arguments: &Show) -> Result<(), Failed> {
    let file = arguments.file.display().to_string();
    let text = Source::new(&arguments.file)
        .read()
        .map_err(|error| Failed::Usage(format!("{file}: {error}")))?;
    let config = Config::parse(&file, &text, &UncheckedFiles).map_err(|findings| {
        eprint!("{findings}");
        Failed::Findings
    })?;
    let tree = match arguments.defaults {
        true => config.to_effective_tree(),
        false => without_defaults(&config)?,
    };
    match arguments.json {
        true => show_line(format_args!("{:#}", tree.to_json())),
        false => show(tree.to_toml()),
    }
}

/// Prints the JSON schema.
pub(crate) fn schema() -> Result<(), Failed> {
    show_line(format_args!("{:#}", language()))
}

/// Keys that have no default.
const REQUIRED: &[&str] = &["address", "endpoints", "wasm", "to", "route", "vip", "ports"];

/// The config without what it would have had anyway.
fn without_defaults(config: &Config) -> Result<Tree, Failed> {
    let text = bare(config);
    let bare = Config::parse("the defaults", text.as_bytes(), &UncheckedFiles)?;
    Ok(strip(config.to_tree(), &bare.to_tree()))
}

/// A config with the same blocks, in which nothing is set that has a default.
fn bare(config: &Config) -> String {
    let mut text = String::new();
    let to = config.clusters.first().map_or("", |cluster| &cluster.name);
    for (listener, port) in config.listeners.iter().zip(1..) {
        let name = &listener.name;
        text += &format!("[listener.{name}]\naddress = \":{port}\"\nto = \"{to}\"\n");
    }
    for service in &config.services {
        let name = &service.name;
        text += &format!("[service.{name}]\nvip = \"::\"\nports = \"tcp/0\"\nto = \"{to}\"\n");
    }
    for cluster in &config.clusters {
        text += &format!("[cluster.{}]\nendpoints = [\"127.0.0.1:1\"]\n", cluster.name);
    }
    for filter in &config.filters {
        text += &format!("[filter.{}]\nwasm = \"x.wasm\"\n", filter.name);
    }
    text
}

/// Takes away what is equal in `default`, and tables that are empty then.
fn strip(tree: Tree, default: &Tree) -> Tree {
    let (Tree::Table(entries), Tree::Table(defaults)) = (&tree, default) else { return tree };
    let kept = entries.iter().filter_map(|(key, value)| {
        let usual = defaults.iter().find(|(other, _)| other == key).map(|(_, value)| value);
        let value = match (usual, value) {
            (Some(Tree::List(usual)), Tree::List(routes)) if key == ROUTE => {
                return Some(strip_routes(routes, usual));
            }
            (Some(usual), _) if usual == value && !REQUIRED.contains(&&**key) => return None,
            (Some(usual), _) => strip(value.clone(), usual),
            (None, _) => value.clone(),
        };
        (value != Tree::Table(Vec::new())).then(|| (key.clone(), value))
    });
    Tree::Table(kept.collect())
}

/// Each route without what any has anyway; where all that is left is one `to`, that alone.
fn strip_routes(routes: &[Tree], usual: &[Tree]) -> (String, Tree) {
    let usual = usual.first().unwrap_or(&Tree::Null);
    let mut routes: Vec<Tree> = routes.iter().map(|route| strip(route.clone(), usual)).collect();
    if let [Tree::Table(entries)] = &mut *routes
        && let [(key, _)] = &**entries
        && key == "to"
    {
        return entries.remove(0);
    }
    (ROUTE.to_owned(), Tree::List(routes))
}

const ROUTE: &str = "route";

#[cfg(test)]
mod tests {
    use penstock_config::{Config, UncheckedFiles};

    use super::without_defaults;

    #[test]
    fn what_is_left_without_defaults_is_what_was_written() {
        let written = "\
[listener.web]
address = \":8080\"
via = false
to = \"app\"

[service.mail]
vip = \"10.0.0.1\"
ports = [\"tcp/25\"]
to = \"app\"

[cluster.app]
endpoints = [\"127.0.0.1:9001\"]
";
        let config = Config::parse("x", written.as_bytes(), &UncheckedFiles).expect("a config");
        let tree = without_defaults(&config).expect("the defaults are right");
        let text = tree.to_toml();
        assert!(text.lines().filter(|line| line.contains('=')).count() == 7, "{text}");
        let again = Config::parse("x", text.as_bytes(), &UncheckedFiles).expect("a config");
        assert_eq!(again, config);
    }

    #[test]
    fn of_routes_too_only_what_was_written_is_left() {
        let written = "\
[listener.web]
address = [\":8080\"]

[[listener.web.route]]
to = \"app\"
path = [\"/v2/*\"]
retry = { attempts = 0 }

[[listener.web.route]]
to = \"app\"

[cluster.app]
endpoints = [\"127.0.0.1:9001\"]
";
        let config = Config::parse("x", written.as_bytes(), &UncheckedFiles).expect("a config");
        let tree = without_defaults(&config).expect("the defaults are right");
        assert_eq!(tree.to_toml(), written);
    }
}
