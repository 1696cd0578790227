//! Tests of the filter's own code, against the SDK's host double.

use penstock::testing::Instance;

use super::AccessMetrics;

fn pass(filter: &Instance<AccessMetrics>, route: &str, method: &str, status: Option<u16>) {
    filter.set_property(&["xds", "route_name"], route);
    let mut exchange = filter.request(&[(":method", method), (":path", "/")]);
    assert!(exchange.went_on());
    if let Some(status) = status {
        exchange.respond(status, &[], true);
    }
    exchange.finish();
}

#[test]
fn counts_by_route_and_class() {
    let filter = Instance::<AccessMetrics>::new("").unwrap();
    for (route, status) in [
        ("api", Some(200)),
        ("api", Some(204)),
        ("api", Some(503)),
        ("web", Some(404)),
        ("web", None),
    ] {
        pass(&filter, route, "GET", status);
    }
    assert_eq!(filter.metric("requests.api.2xx"), Some(2));
    assert_eq!(filter.metric("requests.api.5xx"), Some(1));
    assert_eq!(filter.metric("requests.web.4xx"), Some(1));
    assert_eq!(filter.metric("requests.web.none"), Some(1));
    assert_eq!(filter.metric("requests.web.2xx"), None);
}

#[test]
fn records_times_and_sizes() {
    let filter = Instance::<AccessMetrics>::new("").unwrap();
    filter.set_property(&["request", "duration"], 12_900_000_u64.to_le_bytes());
    filter.set_property(&["request", "total_size"], 300_u64.to_le_bytes());
    filter.set_property(&["response", "total_size"], 4000_u64.to_le_bytes());
    pass(&filter, "api", "GET", Some(200));
    filter.set_property(&["request", "duration"], "soon");
    pass(&filter, "api", "GET", Some(200));
    assert_eq!(filter.recorded("time_ms.api"), [12]);
    assert_eq!(filter.recorded("request_bytes.api"), [300, 300]);
    assert_eq!(filter.recorded("response_bytes.api"), [4000, 4000]);
}

#[test]
fn groups_by_what_the_operator_says() {
    #[track_caller]
    fn check(by: &str, expected: &str) {
        let filter = Instance::<AccessMetrics>::new(&format!(r#"{{"by":"{by}"}}"#)).unwrap();
        filter.set_property(&["xds", "cluster_name"], "origin/1");
        pass(&filter, "", "PUT", Some(200));
        assert_eq!(filter.metric(&format!("requests.{expected}.2xx")), Some(1), "{by}");
    }
    check("route", "unnamed");
    check("cluster", "origin_1");
    check("method", "PUT");
    check("none", "all");
}

#[test]
fn the_number_of_groups_is_limited() {
    let filter = Instance::<AccessMetrics>::new(r#"{"by":"method","routes_max":2}"#).unwrap();
    for method in ["GET", "PUT", "A", "B", "GET"] {
        pass(&filter, "", method, Some(200));
    }
    assert_eq!(filter.metric("requests.GET.2xx"), Some(2));
    assert_eq!(filter.metric("requests.other.2xx"), Some(2));
    assert_eq!(filter.metric("requests.A.2xx"), None);
}

#[test]
fn a_wrong_configuration_says_where() {
    #[track_caller]
    fn check(config: &str, expected: &str) {
        let error = Instance::<AccessMetrics>::new(config).err().unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    check(r#"{"by":"path"}"#, "by: unknown variant `path`");
    check(r#"{"routes_max":0}"#, "routes_max: 0: from 1 to 1000");
}
