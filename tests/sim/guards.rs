//! What guards a route holds, whatever a request says: no spelling of a path passes it by.

use penstock_env::Address;

use crate::strict::Fate::{self, Passed, Refused};
use crate::strict::check_by;

/// A config with these lines in the listener, and these routes behind them.
fn config(origin: &Address, listener: &str, routes: &[&str]) -> String {
    let routes = routes.iter().map(|route| format!("[[listener.web.route]]\n{route}\n"));
    let routes: String = routes.collect();
    format!(
        "[listener.web]\naddress = \"FRONT\"\n{listener}\n{routes}\
         [cluster.app]\nendpoints = [\"{origin}\"]\n"
    )
}

#[track_caller]
fn check(listener: &str, routes: &[&str], request: &str, fate: Fate) {
    check_by(|origin| config(origin, listener, routes), request, fate);
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: sim.test\r\n{fields}\r\n")
}

/// A guarded part of an origin, and the rest.
const PARTS: [&str; 2] = ["path = \"/admin/*\"\nrespond = { status = 403 }", "to = \"app\""];

#[test]
fn a_path_that_origins_read_as_another_routes_is_refused() {
    for path in [
        "/admin%2fsecret",
        "/%2fadmin/secret",
        "/public/..%2fadmin/",
        "/x%2f..%2Fadmin/secret",
        "/.%2fadmin/secret",
        "/x\\..\\admin\\secret",
        "/admin%5csecret",
        "/x%5C..%2fadmin/secret",
        "/admin;x/secret",
        "/public/..;/admin/",
        // What a sloppy reading lets pass, the strict one does not.
        "/admin/..%2fpublic",
        "/admin/..;/public",
        // No origin means that.
        "/..%2f",
    ] {
        check("", &PARTS, &get(path, ""), Refused(400));
    }
    check("", &PARTS, &get("/admin/a%2Fb", ""), Refused(403));
}

#[test]
fn a_path_that_is_one_routes_in_every_reading_goes_on_as_it_came() {
    let passed = |line: &'static [&'static str; 1]| {
        let path = line[0].split(' ').nth(1).expect("a request line");
        check("", &PARTS, &get(path, ""), Passed(line, &[]));
    };
    passed(&["GET /api/a%2Fb;v=1/c%5cd HTTP/1.1\r\n"]);
    passed(&["GET /@scope%2fname HTTP/1.1\r\n"]);
    passed(&["GET /page;jsessionid=1?a=/..;/admin/ HTTP/1.1\r\n"]);
}

#[test]
fn readings_that_a_listener_waives_are_not_asked_for() {
    let waives = |one: &str| format!("lenient = [\"{one}\"]");
    for (path, waiver, other) in [
        ("/admin%2fsecret", "escaped-slash", "backslash"),
        ("/admin%5csecret", "backslash", "path-parameters"),
        ("/admin;x/secret", "path-parameters", "escaped-slash"),
    ] {
        check(&waives(waiver), &PARTS, &get(path, ""), Passed(&[], &[]));
        check(&waives(other), &PARTS, &get(path, ""), Refused(400));
    }
}
