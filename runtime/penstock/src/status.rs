//! `penstock status | fleet | reload`: what a running Penstock does, and what it is told.

use std::fmt::Write;

use serde_json::Value;

use crate::admin_client::{Answer, Door};
use crate::output::{show, show_line};
use crate::{Failed, arguments};

/// Shows what it does.
pub(crate) fn run(arguments: &arguments::Status) -> Result<(), Failed> {
    let door = Door::named(&arguments.ask)?;
    if arguments.ready {
        well(&door.ask("GET", "/ready")?)?;
        return show_line("ready");
    }
    let status = well(&door.ask("GET", "/v1/status")?)?;
    match arguments.json {
        true => show_line(format_args!("{status:#}")),
        false => show(render(&status)),
    }
}

/// Shows the fleet.
pub(crate) fn fleet(arguments: &arguments::Fleet) -> Result<(), Failed> {
    let fleet = well(&Door::named(&arguments.ask)?.ask("GET", "/v1/fleet")?)?;
    match arguments.json {
        true => show_line(format_args!("{fleet:#}"))?,
        false => show(render_fleet(&fleet))?,
    }
    let sessions = || fleet["bgp"]["sessions"].as_array().into_iter().flatten();
    let unheard = sessions().any(|session| session["established"] != true);
    match unheard || fleet["bgp"]["failure"].is_string() {
        true => Err(Failed::Findings),
        false => Ok(()),
    }
}

fn render_fleet(fleet: &Value) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "members  {}", texts(&fleet["members"]).join(" "));
    if let Some(table) = fleet["table"].as_str() {
        let _ = writeln!(out, "table    {table}");
    }
    let bgp = &fleet["bgp"];
    if bgp.is_null() {
        let _ = writeln!(out, "no BGP");
        return out;
    }
    let announced = if bgp["announced"] == true { "announced" } else { "not announced" };
    let _ = writeln!(out, "{announced}  {}", texts(&bgp["networks"]).join(" "));
    let withheld = texts(&bgp["withheld"]);
    if !withheld.is_empty() {
        let _ = writeln!(out, "nobody is up for  {}", withheld.join(" "));
    }
    for session in bgp["sessions"].as_array().into_iter().flatten() {
        let text = |key: &str| session[key].as_str().unwrap_or("?").to_owned();
        let _ = writeln!(out, "peer {:<24} {}  {}", text("peer"), text("state"), text("since"));
    }
    if let Some(failure) = bgp["failure"].as_str() {
        let _ = writeln!(out, "{failure}");
    }
    out
}

/// Has it read its config again, and shows how that went.
pub(crate) fn reload(arguments: &arguments::Ask) -> Result<(), Failed> {
    let applied = well(&Door::named(arguments)?.ask("POST", "/v1/reload")?)?;
    let changes = applied["changes"].as_array().map_or(0, Vec::len);
    let keys = if changes == 1 { "key" } else { "keys" };
    show_line(format_args!(
        "config {} is in force, {changes} {keys} changed",
        applied["generation"]
    ))?;
    match texts(&applied["needs_restart"]) {
        waiting if waiting.is_empty() => Ok(()),
        waiting => show_line(format_args!("these need a restart: {}", waiting.join(", "))),
    }
}

/// The body of a good answer, or the detail of a problem document.
fn well(answer: &Answer) -> Result<Value, Failed> {
    let body: Value = serde_json::from_str(&answer.body)?;
    match answer.status {
        200 => Ok(body),
        _ => Err(Failed::Because(body["detail"].as_str().unwrap_or("refused").to_owned())),
    }
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A service whose packets are passed on, in a line.
fn packets(service: &Value, datapath: &str) -> String {
    let list = |key: &str| service[key].as_array().cloned().unwrap_or_default();
    let sum = |key: &str| list("vips").iter().filter_map(|vip| vip[key].as_u64()).sum::<u64>();
    let vips = list("vips").into_iter().map(|vip| {
        let text = |key: &str| vip[key].as_str().unwrap_or("?").to_owned();
        text("address") + "/" + &text("transport")
    });
    let up = list("backends").iter().filter(|one| one["state"] == "up").count();
    format!(
        "{}  {} by {datapath}  {up} backends  {} packets there  {} back",
        vips.collect::<Vec<_>>().join(" "),
        service["mode"].as_str().unwrap_or("?"),
        sum("packets"),
        sum("return_packets"),
    )
}

/// A page for people.
fn render(status: &Value) -> String {
    let mut out = String::new();
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    let (traffic, config) = (&status["traffic"], &status["config"]);
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        out,
        "penstock {}  {}  up {:.0} s  process {}  {:.0} MiB  config {} from {}",
        status["version"].as_str().unwrap_or("?"),
        status["state"].as_str().unwrap_or("?"),
        number(&status["uptime_seconds"]),
        status["pid"],
        number(&status["memory_bytes"]) / 1048576.0,
        config["generation"],
        config["file"].as_str().unwrap_or("?"),
    );
    let _ = writeln!(
        out,
        "{:.0} requests/s  {:.1} errors/s  p50 {:.2} ms  p99 {:.2} ms  {} connections",
        number(&traffic["requests_per_second"]),
        number(&traffic["errors_per_second"]),
        number(&traffic["p50_ms"]),
        number(&traffic["p99_ms"]),
        status["connections"],
    );
    if let Some(refusal) = config["last_refusal"].as_str() {
        let _ = writeln!(out, "the last reload was refused: {refusal}");
    }
    for listener in status["listeners"].as_array().into_iter().flatten() {
        let (name, active) = (listener["name"].as_str().unwrap_or("?"), &listener["active"]);
        let addresses = texts(&listener["addresses"]).join(" ");
        let _ = writeln!(out, "listener {name}  {addresses}  {active} open");
    }
    for service in status["services"].as_array().into_iter().flatten() {
        let (name, active) = (service["name"].as_str().unwrap_or("?"), &service["active"]);
        let addresses = texts(&service["addresses"]).join(" ");
        let _ = match service["datapath"].as_str() {
            None => writeln!(out, "service {name}  {addresses}  {active} open"),
            Some(datapath) => writeln!(out, "service {name}  {}", packets(service, datapath)),
        };
    }
    for cluster in status["clusters"].as_array().into_iter().flatten() {
        let name = cluster["name"].as_str().unwrap_or("?");
        let _ = writeln!(out, "cluster {name}  {} retries", cluster["retries"]);
        for endpoint in cluster["endpoints"].as_array().into_iter().flatten() {
            let _ = writeln!(
                out,
                "  {:<24} {:<8} {:>10} requests {:>6} failed {:>5} under way {:>9.2} ms",
                endpoint["address"].as_str().unwrap_or("?"),
                endpoint["health"].as_str().unwrap_or("?"),
                endpoint["requests"].to_string(),
                endpoint["failures"].to_string(),
                endpoint["in_flight"].to_string(),
                number(&endpoint["latency_ms"]),
            );
        }
    }
    out
}
