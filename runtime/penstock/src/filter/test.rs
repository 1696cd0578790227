//! `penstock filter test`: one exchange from the command line, or many from a file, where there may
//! be raw connections, too.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use penstock_filters_sdk_testing::FilterTest;

use crate::filter::case::{Case, Expect, Field, Pieces, Property, RequestLine, Response};
use crate::filter::spec::Spec;
use crate::filter::{Failure, connection, module, outcome};

#[derive(Args, Debug)]
pub(crate) struct Test {
    /// The module, or a .toml file with many exchanges, or connections; see the SDK's README.
    file: PathBuf,
    /// The filter's configuration: JSON or text as it stands, a .toml file as JSON.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Method and path.
    #[arg(long, value_name = "LINE", default_value = "GET /")]
    request: RequestLine,
    /// A field of the request.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<Field>,
    /// The request's body.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// What the filter can ask, as `source.address=192.0.2.1:4711`.
    #[arg(long = "property", value_name = "PATH=VALUE", value_parser = property)]
    properties: Vec<(String, Property)>,
    /// A cluster that the filter may call.
    #[arg(long = "http-call", value_name = "CLUSTER")]
    http_calls: Vec<String>,
    /// The status of the origin's response.
    #[arg(long, value_name = "STATUS", default_value_t = 200)]
    response_status: u16,
    /// A field of the origin's response.
    #[arg(long = "response-header", value_name = "FIELD")]
    response_headers: Vec<Field>,
    /// The body of the origin's response.
    #[arg(long, value_name = "FILE")]
    response_body: Option<PathBuf>,
    /// The caller gets this status.
    #[arg(long, value_name = "STATUS")]
    expect_status: Option<u16>,
    /// The caller gets this field.
    #[arg(long = "expect-header", value_name = "FIELD")]
    expect_headers: Vec<Field>,
    /// The origin gets this field.
    #[arg(long = "expect-request-header", value_name = "FIELD")]
    expect_request_headers: Vec<Field>,
    /// The exchange uses no more fuel than this: about one for each instruction.
    #[arg(long, value_name = "FUEL")]
    fuel_max: Option<u64>,
}

/// Runs what was asked for.
pub(crate) fn run(arguments: &Test, out: &mut dyn Write) -> Result<(), Failure> {
    match module::is_toml(&arguments.file) {
        true if describes_one(arguments) => Err(Failure::Malformed {
            path: arguments.file.clone(),
            reason: "a file of exchanges says everything itself: leave the options out".to_owned(),
        }),
        true => run_spec(&arguments.file, out),
        false => run_one(arguments, out),
    }
}

fn run_one(arguments: &Test, out: &mut dyn Write) -> Result<(), Failure> {
    let case = case(arguments)?;
    let wasm = module::read(&arguments.file)?;
    let config = module::config(arguments.config.as_deref())?;
    let test = FilterTest::new(&wasm).config(&config);
    let test = arguments.http_calls.iter().fold(test, |test, cluster| test.cluster(cluster));
    load(&test, &arguments.file)?;
    let outcome = outcome::run(&test, &case);
    outcome.show(out)?;
    let unmet = outcome.unmet(&case);
    for line in &unmet {
        writeln!(out, "! {line}")?;
    }
    match unmet.is_empty() {
        true => Ok(()),
        false => Err(Failure::Unmet { failed: 1, count: 1 }),
    }
}

/// Whether an exchange is described beside the file.
fn describes_one(arguments: &Test) -> bool {
    let Test { headers, properties, http_calls, response_headers, .. } = arguments;
    arguments.config.is_some()
        || arguments.body.is_some()
        || arguments.response_body.is_some()
        || arguments.expect_status.is_some()
        || arguments.fuel_max.is_some()
        || arguments.request != RequestLine::default()
        || [headers, response_headers, &arguments.expect_headers].iter().any(|l| !l.is_empty())
        || !(properties.is_empty() && http_calls.is_empty())
        || !arguments.expect_request_headers.is_empty()
}

fn run_spec(path: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let spec = Spec::read(path)?;
    let config = spec.config_text(path)?;
    let wasm = module::read(&spec.wasm)?;
    let test = FilterTest::new(&wasm).config(&config).on_error(spec.on_error.into());
    let test = spec.http_calls.iter().fold(test, |test, cluster| test.cluster(cluster));
    load(&test, &spec.wasm)?;
    let mut failed = 0;
    for case in &spec.cases {
        let outcome = outcome::run(&test, case);
        let unmet = outcome.unmet(case);
        report((&case.name, outcome.fuel), &unmet, out)?;
        if !unmet.is_empty() {
            failed += 1;
            outcome.show(out)?;
        }
    }
    for case in &spec.connections {
        let outcome = connection::run(&test, case);
        let unmet = outcome.unmet(case);
        report((&case.name, outcome.fuel), &unmet, out)?;
        if !unmet.is_empty() {
            failed += 1;
            outcome.show(out)?;
        }
    }
    let count = spec.cases.len() + spec.connections.len();
    match failed {
        0 => Ok(writeln!(out, "{count} passed")?),
        _ => Err(Failure::Unmet { failed, count }),
    }
}

/// One line for what was run, and one for each expectation that was not met.
fn report((name, fuel): (&str, u64), unmet: &[String], out: &mut dyn Write) -> Result<(), Failure> {
    let word = if unmet.is_empty() { "ok" } else { "FAILED" };
    writeln!(out, "{word} {name} (fuel {fuel})")?;
    for line in unmet {
        writeln!(out, "! {line}")?;
    }
    Ok(())
}

/// Starts the filter, and says with its own words if it does not.
fn load(test: &FilterTest, path: &Path) -> Result<(), Failure> {
    test.load().map_err(|error| module::refused(path, &error, &test.lines()))
}

/// The exchange that the command line describes.
fn case(arguments: &Test) -> Result<Case, Failure> {
    let body = |path: &Option<PathBuf>| match path {
        Some(path) => {
            fs::read(path).map(|bytes| Some(Pieces(vec![bytes]))).map_err(Failure::io(path))
        }
        None => Ok(None),
    };
    Ok(Case {
        request: arguments.request.clone(),
        headers: arguments.headers.clone(),
        body: body(&arguments.body)?,
        properties: arguments.properties.iter().cloned().collect(),
        response: Response {
            status: arguments.response_status,
            headers: arguments.response_headers.clone(),
            body: body(&arguments.response_body)?,
            trailers: Vec::new(),
        },
        expect: Expect {
            status: arguments.expect_status,
            headers: arguments.expect_headers.clone(),
            request_headers: arguments.expect_request_headers.clone(),
            fuel_max: arguments.fuel_max,
            ..Expect::default()
        },
        ..Case::default()
    })
}

/// `path=value`; the value is text.
fn property(text: &str) -> Result<(String, Property), String> {
    let (path, value) = text.split_once('=').ok_or("a property is a path, `=`, and a value")?;
    Ok((path.to_owned(), Property::Text(value.to_owned())))
}
