//! Values that are refused, each at its place: rows as in `mistakes`.

use crate::tests::mistakes::{check, check_cluster, check_listener, check_route};

#[test]
fn values_of_the_wrong_type_form_or_range() {
    check("fleet = 1", &["1:9 value fleet: expected a table, found a whole number"]);
    check(
        "[runtime]\npin = \"yes\"",
        &["2:7 value runtime.pin: expected true or false, found text"],
    );
    check("[runtime]\nshards = 0", &["2:10 value runtime.shards: at least 1"]);
    check("[runtime]\nshards = -1", &["2:10 value runtime.shards: at least 1"]);
    check("[runtime]\nshards = 0xFFFF", &["2:10 value runtime.shards: at most 1024"]);
    check(
        "[runtime]\nshards = 99999999999999999999",
        &["2:10 value runtime.shards: too large a number"],
    );
    check(
        "[runtime]\nshards = \"many\"",
        &["2:10 value runtime.shards: expected a whole number or \"auto\", found text"],
    );
    check(
        "[runtime]\nreceive_buffers = 1000",
        &["2:19 reference runtime.receive_buffers: not a power of two"],
    );
    check_cluster(
        "timeouts = { connect = \"5\" }",
        &["2:24 value cluster.a.timeouts.connect: \
         a duration needs its unit: \"500ms\", \"5s\", \"1m\" or \"1h\""],
    );
    check_cluster(
        "timeouts = { connect = 5 }",
        &["2:24 value cluster.a.timeouts.connect: \
         expected a duration such as \"500ms\" or \"5s\", found a whole number"],
    );
    check_cluster(
        "timeouts = { connect = \"5d\" }",
        &["2:24 value cluster.a.timeouts.connect: the unit is ms, s, m or h"],
    );
    check_cluster(
        "timeouts = { connect = \"2m\" }",
        &["2:24 value cluster.a.timeouts.connect: at most 1m"],
    );
    check_listener(
        "limits = { head = \"64KB\" }",
        &["2:19 value listener.l.limits.head: the unit is KiB, MiB or GiB, or none for bytes"],
    );
    check_listener(
        "limits = { uri = -1 }",
        &["2:18 value listener.l.limits.uri: a size cannot be negative"],
    );
    check_listener(
        "lenient = [\"obs-fold\", \"obs_fold\"]",
        &["2:24 value listener.l.lenient[1]: not one of the allowed words ?\"obs-fold\""],
    );
    check_listener(
        "trusted = [\"10.0.0.1/8\", \"10/8\", \"::/129\", \"::ffff:10.0.0.0/104\"]",
        &[
            "2:12 value listener.l.trusted[0]: has address bits set behind the prefix",
            "2:26 value listener.l.trusted[1]: a network such as \"10.0.0.0/8\" or \"fd00::/8\"",
            "2:34 value listener.l.trusted[2]: at most 32 bits for IPv4, 128 for IPv6",
            "2:44 value listener.l.trusted[3]: write a mapped IPv4 network as IPv4",
        ],
    );
    check(
        "[observe]\naccess_log = \"json\"",
        &["2:14 value observe.access_log: \
        a log is \"off\", \"json:/PATH\", \"text:/PATH\", or either with stdout"],
    );
}

#[test]
fn addresses() {
    let check_endpoint = |address: &str, problem: &str| {
        let text = format!("[cluster.a]\nendpoints = [\"{address}\"]");
        check(&text, &[&format!("2:14 value cluster.a.endpoints[0]: {problem}")]);
    };
    check_endpoint("10.0.0.1", "the port is missing, as in \"10.0.0.1:80\" or \"[::1]:80\"");
    check_endpoint("::1", "the port is missing, as in \"10.0.0.1:80\" or \"[::1]:80\"");
    check_endpoint("10.0.0.1:http", "the port is a number up to 65535");
    check_endpoint("10.0.0.1:65536", "the port is a number up to 65535");
    check_endpoint("10.0.0.1:0", "an endpoint's port cannot be 0");
    check_endpoint("0.0.0.0:80", "an endpoint is one host, not \"all interfaces\"");
    check_endpoint("app.internal:80", "host names need discovery, which is not in this version");
    check_endpoint("unix:app.sock", "a unix socket's path is absolute: \"unix:/run/app.sock\"");
    check("[cluster.a]\nendpoints = []", &["2:13 value cluster.a.endpoints: at least 1 needed"]);
    check(
        "[cluster.a]\nendpoints = [\"10.0.0.1:80\", \"10.0.0.1:80\"]",
        &["2:13 reference cluster.a.endpoints: 10.0.0.1:80 is listed twice; use `weight`"],
    );
    check(
        "[cluster.a]\nendpoints = [{ address = \"10.0.0.1:80\", weight = 0 }]",
        &["2:13 reference cluster.a.endpoints: every weight is 0: nobody would answer"],
    );
}

#[test]
fn two_listeners_never_share_an_address_unseen() {
    let check_pair = |one: &str, other: &str, expected: &[&str]| {
        let cluster = "[cluster.a]\nendpoints = [\"10.0.0.1:80\"]";
        let listener = |name: &str, address: &str| {
            format!("[listener.{name}]\nto = \"a\"\naddress = \"{address}\"\n")
        };
        check(&format!("{}{}{cluster}", listener("k", one), listener("l", other)), expected);
    };
    check_pair(":80", ":81", &[]);
    check_pair("127.0.0.1:80", "127.0.0.2:80", &[]);
    check_pair("127.0.0.1:0", "127.0.0.1:0", &[]);
    check_pair("0.0.0.0:80", "[::1]:80", &[]);
    let taken = |address: &str| {
        format!(
            "6:11 reference listener.l.address: listener.k.address listens on {address} already"
        )
    };
    check_pair(":80", ":80", &[&taken(":80")]);
    check_pair(":80", "127.0.0.1:80", &[&taken(":80")]);
    check_pair("127.0.0.1:80", "0.0.0.0:80", &[&taken("127.0.0.1:80")]);
    check_pair("unix:/a", "unix:/a", &[&taken("unix:/a")]);
}

#[test]
fn no_config_can_forge_a_message() {
    // RFC 9112 §6, RFC 9110 §7.6.1: framing and per-connection fields are ours to write.
    let framing = "frames messages or concerns one connection: not for a config to change";
    let at = "listener.l.route[0]";
    for (line, column, key) in [
        ("request_headers = { set = { Content-Length = \"1\" } }", 46, "set.Content-Length"),
        ("request_headers = { add = { transfer-encoding = \"x\" } }", 49, "add.transfer-encoding"),
        ("request_headers = { remove = [\"Connection\"] }", 30, "remove"),
    ] {
        let kind = if key == "remove" { "reference" } else { "value" };
        let row = format!("5:{column} {kind} {at}.request_headers.{key}: {framing}");
        check_route(&format!("to = \"a\"\n{line}"), &[&row]);
    }
    // RFC 9110 §5.5: a line break in a value would start a field of its own.
    check_route(
        "respond = { headers = { x = \"a\\r\\nb: c\" } }",
        &["4:29 value listener.l.route[0].respond.headers.x: \
         a field value has no line breaks or control characters"],
    );
    // RFC 9112 §3.2: exactly one Host.
    check_route(
        "to = \"a\"\nrequest_headers = { add = { Host = \"b\" } }",
        &["5:27 reference listener.l.route[0].request_headers.add: Host can be set, not added"],
    );
    check_route(
        "to = \"a\"\nupgrade = \"h2c\"",
        &["5:11 value listener.l.route[0].upgrade: \
        an upgrade to HTTP/2 would go past routes and filters"],
    );
    check_route(
        "redirect = { to = \"//{host}\" }",
        &["4:19 value listener.l.route[0].redirect.to: \
        a target that starts with \"//\" is another site's"],
    );
}

#[test]
fn patterns_that_could_never_match() {
    let check_path = |path: &str, problem: &str| {
        let row = format!("5:8 value listener.l.route[0].path: {problem}");
        check_route(&format!("to = \"a\"\npath = \"{path}\""), &[&row]);
    };
    check_path("v2", "a path starts with \"/\"");
    check_path("/a?b=c", "a path has no query; match that with `query`");
    check_path("/a b", "a path is ASCII without spaces; percent-encode the rest");
    // RFC 3986 §6.2.2: routes are matched in the normal form.
    check_path("/%41", "letters, digits and - . _ ~ are matched as themselves, not encoded");
    check_path("/%c3%a4", "percent-encodings are matched in upper case");
    check_path("/a%", "a percent sign needs two hexadecimal digits");
    check_path("/a%+1", "a percent sign needs two hexadecimal digits");
    check_path("/%00", "no request can carry an encoded NUL");
    check_path("/a/../b", "paths are matched normalised: no \".\", \"..\" or \"//\"");
    check_path("/a*", "a star stands for a whole segment, as in \"/users/*/avatar\" or \"/v2/*\"");
    let check_service = |service: &str| {
        let problem =
            "a service is named as in \"shop.v1.Cart\", a method as in \"shop.v1.Cart/Add\"";
        let row = format!("5:11 value listener.l.route[0].service: {problem}");
        check_route(&format!("to = \"a\"\nservice = \"{service}\""), &[&row]);
    };
    for service in
        ["", "/shop.v1.Cart/Add", "shop..Cart", "shop.v1.*", "Cart/", "Cart/Add/x", "1.C"]
    {
        check_service(service);
    }
    let check_host = |host: &str, problem: &str| {
        let row = format!("5:8 value listener.l.route[0].host: {problem}");
        check_route(&format!("to = \"a\"\nhost = \"{host}\""), &[&row]);
    };
    check_host("*", "leave `host` out to match every host");
    check_host("a.example:80", "a host is written without a port");
    check_host("a.*.b", "a host is a name such as \"example.com\" or \"*.example.com\"");
    check_host(
        "b\u{fc}cher.example",
        "a host is written in its ASCII form, which starts with \"xn--\"",
    );
    check_host("::1", "an IPv6 host is written in brackets, as in \"[::1]\"");
    check_route(
        "to = \"a\"\nheaders = { x = \"*\", \"y z\" = true }",
        &[
            "5:17 value listener.l.route[0].headers.x: \
             write `true` for any value, `false` for none",
            "5:30 value listener.l.route[0].headers.\"y z\": \
         a field name is letters, digits and - _ . ~ and the like, no space or colon",
        ],
    );
}

#[test]
fn names_of_routes_are_fit_for_labels_and_differ() {
    let at = "4:8 value listener.l.route[0].name";
    let letters = "a name has letters, digits, - and _, at most 64 of them";
    check_route("name = \"a/b\"\nto = \"a\"", &[&format!("{at}: {letters}")]);
    let taken = "numbers and \"unmatched\" are for what has no name";
    for name in ["7", "unmatched"] {
        check_route(&format!("name = \"{name}\"\nto = \"a\""), &[&format!("{at}: {taken}")]);
    }
    check_route(
        "name = \"x\"\npath = \"/y\"\nto = \"a\"\n[[listener.l.route]]\nname = \"x\"\nto = \"a\"",
        &["3:1 reference listener.l.route: two are named x"],
    );
}
