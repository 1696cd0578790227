//! `penstock check`: every mistake of a config, for people or for editors.

use penstock_config::Config;
use penstock_control::Source;
use serde_json::json;

use crate::Failed;
use crate::arguments::{Check, Format};
use crate::datapath::obstacles;

/// Checks the file, and the files that it names.
pub(crate) fn run(arguments: &Check) -> Result<(), Failed> {
    let (source, file) = (Source::new(&arguments.file), arguments.file.display().to_string());
    let text = source.read().map_err(|error| Failed::Usage(format!("{file}: {error}")))?;
    let result = Config::parse(&file, &text, &source.files().judging_dates());
    match (result, arguments.format) {
        (Ok(config), Format::Text) => {
            println!("{file}: no mistakes");
            // Another machine may be meant: these are no mistakes of the config.
            for obstacle in obstacles(&config) {
                println!("on this machine: {obstacle}");
            }
        }
        (Ok(config), Format::Json) => {
            let here = obstacles(&config);
            let found = json!({ "file": file, "findings": [], "left_out": 0, "here": here });
            println!("{found}");
        }
        (Err(findings), format) => {
            match format {
                Format::Text => print!("{findings}"),
                Format::Json => println!("{}", findings.to_json()),
            }
            return Err(Failed::Findings);
        }
    }
    Ok(())
}
