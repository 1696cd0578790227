//! What guards a route holds, whatever a request says: its filters run on all that it serves, and
//! no spelling of a path and no word of a stranger passes it by.

use penstock_env::Address;

use crate::modules::blocks;
use crate::strict::Fate::{self, Passed, Refused};
use crate::strict::check_by;

/// A config with these lines in the listener, and these routes behind them.
fn config(origin: &Address, listener: &str, routes: &[&str]) -> String {
    let routes = routes.iter().map(|route| format!("[[listener.web.route]]\n{route}\n"));
    let routes: String = routes.collect();
    let filters = match format!("{listener}{routes}").contains("filters") {
        true => {
            let more = ["tell", "from"].map(|it| format!("[filter.{it}]\nwasm = \"/{it}.wasm\"\n"));
            blocks("deny", 0) + &more.concat()
        }
        false => String::new(),
    };
    format!(
        "[listener.web]\naddress = \"FRONT\"\n{listener}\n{routes}{filters}\
         [cluster.app]\nendpoints = [\"{origin}\"]\n\
         [cluster.auth]\nendpoints = [\"{origin}\"]\n"
    )
}

#[track_caller]
fn check(listener: &str, routes: &[&str], request: &str, fate: Fate) {
    check_by(|origin| config(origin, listener, routes), request, fate);
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: sim.test\r\n{fields}\r\n")
}

/// The route that requests take once `edit` has run.
const EDITED: &str = "headers = { x-edited = \"yes\" }\nto = \"app\"";
/// The same, and its filter answers 403 where the request asks for it.
const EDITED_GATED: &str = "headers = { x-edited = \"yes\" }\nto = \"app\"\nfilters = [\"gate\"]";
const OPEN: &str = "to = \"app\"";
const GATED: &str = "to = \"app\"\nfilters = [\"gate\"]";
const ASKS_FOR_403: &str = "X-Mark: answer\r\n";

#[test]
fn a_route_that_filters_choose_has_its_own_filters_run() {
    let listener = "filters = [\"edit\"]";
    let request = get("/", ASKS_FOR_403);
    check(listener, &[EDITED_GATED, OPEN], &request, Refused(403));
    check(listener, &[EDITED_GATED, OPEN], &get("/", ""), Passed(&["x-edited: yes"], &[]));
    // And where it is a route's own filter that chooses.
    let edits = "to = \"app\"\nfilters = [\"edit\"]";
    check("", &[EDITED_GATED, edits], &request, Refused(403));
}

#[test]
fn a_route_that_does_not_serve_keeps_its_filters_to_itself() {
    let listener = "filters = [\"edit\"]";
    let fate = Passed(&["x-edited: yes"], &[]);
    check(listener, &[EDITED, GATED], &get("/", ASKS_FOR_403), fate);
    // A request cannot choose either way: what it says itself is looked at with what filters say.
    check("", &[EDITED, GATED], &get("/", ASKS_FOR_403), Refused(403));
}

#[test]
fn a_filter_of_the_listener_runs_as_the_route_that_serves_configures_it() {
    let own = |letter: char, route: &str| {
        format!("{route}\nfilters = [{{ filter = \"tell\", config = \"{letter}\" }}]")
    };
    let (edited, open) = (own('a', EDITED), own('b', OPEN));
    let request = get("/", "");
    let fate = Passed(&["x-count: a"], &["x-count: b", "x-count: l"]);
    check("filters = [\"edit\", \"tell\"]", &[&edited, &open], &request, fate);
    // It ran already, otherwise configured: it runs again.
    let fate = Passed(&["x-count: b\r\nx-edited: yes\r\nx-count: a\r\n"], &[]);
    check("filters = [\"tell\", \"edit\"]", &[&edited, &open], &request, fate);
}

#[test]
fn filters_that_come_late_see_the_whole_request() {
    let late = "headers = { x-edited = \"yes\" }\nto = \"app\"\nfilters = [\"small\", \"tell\"]";
    let head = "POST / HTTP/1.1\r\nHost: sim.test\r\nX-Mark: whole\r\n";
    let length = format!("{head}Content-Length: 11\r\n\r\nhello world");
    let chunked =
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
    let (said, unsaid): (&[&str], &[&str]) = (
        &["x-edited: yes", "x-count: ", "Content-Length: 11\r\n", "\r\n\r\nhello world"],
        &["x-edited: yes", "x-count: ", "hello world\r\n0\r\n\r\n"],
    );
    for (request, seen) in [(length, said), (chunked, unsaid)] {
        for listener in ["filters = [\"look\", \"edit\"]", "filters = [\"edit\", \"look\"]"] {
            check(listener, &[late, OPEN], &request, Passed(seen, &[]));
        }
    }
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

#[test]
fn nobody_else_says_whom_a_request_is_from() {
    for (name, value) in [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "inside.test"),
        ("forwarded", "for=10.0.0.1"),
    ] {
        let inside = format!("headers = {{ {name} = \"{value}\" }}\nto = \"app\"");
        let routes = [&*inside, "respond = { status = 403 }"];
        let request = get("/", &format!("{name}: {value}\r\n"));
        check("", &routes, &request, Refused(403));
        // Who is trusted is believed.
        check("trusted = [\"0.0.0.0/0\", \"::/0\"]", &routes, &request, Passed(&[], &[]));
    }
}

#[test]
fn filters_are_told_for_whom_a_trusted_proxy_speaks() {
    let request = get("/", "X-Forwarded-For: 198.51.100.1, 203.0.113.9, 10.77.0.1\r\n");
    let (filters, open) = ("filters = [\"from\"]\n", [OPEN]);
    let trusts = format!("{filters}trusted = [\"10.0.0.0/8\"]");
    check(&trusts, &open, &request, Passed(&["x-count: 203.0.113.9:0\r\n"], &[]));
    // Who says nothing of others asks itself, and so does who is not believed.
    check(&trusts, &open, &get("/", ""), Passed(&["x-count: 10.0.0."], &[]));
    check(filters, &open, &request, Passed(&["x-count: 10.0.0."], &["203.0.113.9"]));
    // What filters make of the field changes nobody's mind.
    let edits = "to = \"app\"\nrequest_headers = { set = { x-forwarded-for = \"192.0.2.1\" } }";
    check(&trusts, &[edits], &request, Passed(&["x-count: 203.0.113.9:0\r\n"], &[]));
}
