//! `penstock check`: every mistake of a config, for people or for editors.

use penstock_config::Findings;
use penstock_control::Source;
use serde_json::json;

use crate::Failed;
use crate::arguments::{Check, Format};
use crate::datapath::{absent_interfaces, obstacles};
use crate::output::{show, show_line};

/// Checks the file, and what it names: files, and interfaces of this machine.
pub(crate) fn run(arguments: &Check) -> Result<(), Failed> {
    let (source, file) = (Source::new(&arguments.file), arguments.file.display().to_string());
    let text = source.read().map_err(|error| Failed::Usage(format!("{file}: {error}")))?;
    let result = penstock_control::check(&file, &text, &source.files());
    let result = result.and_then(|config| {
        let flaws = absent_interfaces(&config);
        Findings::of(&file, &text, flaws).map_or(Ok(config), Err)
    });
    match (result, arguments.format) {
        (Ok(config), Format::Text) => {
            let mut text = format!("{file}: no mistakes\n");
            // Whoever checks need not be who serves: these are no mistakes of the config.
            for obstacle in obstacles(&config) {
                text += &format!("on this machine: {obstacle}\n");
            }
            show(text)
        }
        (Ok(config), Format::Json) => {
            let here = obstacles(&config);
            show_line(json!({ "file": file, "findings": [], "left_out": 0, "here": here }))
        }
        (Err(findings), format) => {
            match format {
                Format::Text => show(findings)?,
                Format::Json => show_line(findings.to_json())?,
            }
            Err(Failed::Findings)
        }
    }
}
