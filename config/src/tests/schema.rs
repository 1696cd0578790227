//! The schema and the reader say the same: held together key by key.

use serde_json::{Map, Value};

use crate::grammar::later;
use crate::tests::round_trip::FULL;
use crate::tests::{MINIMAL, parse};
use crate::{FindingKind, schema};

/// The properties of the table that `path` leads to; a star stands for a name.
fn properties<'s>(schema: &'s Value, path: &str) -> &'s Map<String, Value> {
    let step = |table: &'s Value, key: &str| match key {
        "*" => &table["additionalProperties"],
        "#" => &table["items"],
        key => &table["properties"][key],
    };
    let table = path.split('/').filter(|key| !key.is_empty()).fold(schema, step);
    table["properties"].as_object().unwrap_or_else(|| panic!("no table at {path}"))
}

/// The keys that the reader lists when it meets an unknown one behind `header`.
fn keys_of_reader(text: &str) -> Vec<String> {
    let findings = parse(text).expect_err("zzz is no key");
    let unknown = findings.list.iter().find(|finding| finding.path.ends_with("zzz"));
    let allowed = &unknown.expect("zzz is reported").allowed;
    let mut keys: Vec<String> = allowed.split(", ").map(str::to_owned).collect();
    keys.sort();
    keys
}

#[test]
fn schema_and_reader_know_the_same_keys() {
    let schema = schema();
    let check = |path: &str, text: &str| {
        let keys: Vec<&String> = properties(&schema, path).keys().collect();
        assert_eq!(keys_of_reader(text), keys.into_iter().cloned().collect::<Vec<_>>(), "{path}");
    };
    check("", "zzz = 1");
    check("runtime", "[runtime]\nzzz = 1");
    check("runtime/layer4", "[runtime.layer4]\nzzz = 1");
    check("runtime/layer4/sources/#", "[runtime.layer4]\nsources = [{ zzz = 1 }]");
    check("admin", "[admin]\nzzz = 1");
    check("observe", "[observe]\nzzz = 1");
    check("fleet", "[fleet]\nzzz = 1");
    check("listener/*", "[listener.l]\nzzz = 1");
    check("listener/*/timeouts", "[listener.l.timeouts]\nzzz = 1");
    check("listener/*/limits", "[listener.l.limits]\nzzz = 1");
    check("listener/*/route/#", "[[listener.l.route]]\nzzz = 1");
    check("listener/*/route/#/retry", "[[listener.l.route]]\nretry.zzz = 1");
    check("listener/*/route/#/rewrite", "[[listener.l.route]]\nrewrite.zzz = 1");
    check("listener/*/route/#/redirect", "[[listener.l.route]]\nredirect.zzz = 1");
    check("listener/*/route/#/respond", "[[listener.l.route]]\nrespond.zzz = 1");
    check("listener/*/route/#/split/#", "[[listener.l.route]]\nsplit = [{ zzz = 1 }, {}]");
    check("listener/*/route/#/request_headers", "[[listener.l.route]]\nrequest_headers.zzz = 1");
    check("service/*", "[service.s]\nzzz = 1");
    check("service/*/proxy_protocol", "[service.s]\nproxy_protocol.zzz = 1");
    check("listener/*/proxy_protocol", "[listener.l]\nproxy_protocol.zzz = 1");
    check("service/*/route/#", "[[service.s.route]]\nzzz = 1");
    check("service/*/timeouts", "[service.s.timeouts]\nzzz = 1");
    check("service/*/limits", "[service.s.limits]\nzzz = 1");
    check("cluster/*", "[cluster.c]\nzzz = 1");
    check("cluster/*/timeouts", "[cluster.c.timeouts]\nzzz = 1");
    check("cluster/*/limits", "[cluster.c.limits]\nzzz = 1");
    check("filter/*", "[filter.f]\nzzz = 1");
    check("filter/*/deadline", "[filter.f.deadline]\nzzz = 1");
    check("filter/*/storm", "[filter.f.storm]\nzzz = 1");
    check("filter/*/canary", "[filter.f.canary]\nzzz = 1");
    check("filter/*/rollback", "[filter.f.rollback]\nzzz = 1");
}

/// Checks `value` against the part of JSON schema that ours uses.
fn conforms(value: &Value, schema: &Value, path: &str) -> Result<(), String> {
    if let Some(options) = schema["anyOf"].as_array() {
        let fits = options.iter().any(|option| conforms(value, option, path).is_ok());
        return fits.then_some(()).ok_or(format!("{path}: none of the options"));
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.contains(value).then_some(()).ok_or(format!("{path}: {value}"));
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        Value::Null => return Ok(()),
        one => vec![one.clone()],
    };
    let actual = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !types.contains(&Value::from(actual)) {
        return Err(format!("{path}: {actual} is not of {types:?}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        conforms(item, &schema["items"], &format!("{path}[{index}]"))?;
    }
    for (key, item) in value.as_object().into_iter().flatten() {
        let known = &schema["properties"][key];
        let rest = &schema["additionalProperties"];
        let schema = if known.is_null() { rest } else { known };
        if *schema == Value::Bool(false) {
            return Err(format!("{path}.{key}: not in the schema"));
        }
        conforms(item, schema, &format!("{path}.{key}"))?;
    }
    Ok(())
}

#[test]
fn what_the_reader_takes_conforms_to_the_schema() {
    for text in ["", MINIMAL, FULL] {
        let config = parse(text).expect("the samples are right");
        assert_eq!(conforms(&config.to_json(), &schema(), ""), Ok(()));
    }
}

#[test]
fn every_key_has_its_sentence() {
    fn check(schema: &Value, path: &str) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            let named = ["listener", "service", "cluster", "filter"].contains(&key.as_str())
                && path.len() < 10;
            let is_section = path.matches('.').count() == 1;
            let text = property["description"].as_str().unwrap_or("");
            assert!(named || is_section || text.len() > 10, "{path} has no description");
            check(property, &path);
            check(&property["items"], &path);
            check(&property["additionalProperties"], &path);
        }
    }
    check(&schema(), "");
}

#[test]
fn no_key_is_both_here_and_later() {
    let header = |kind: &str| match kind {
        "config" => "",
        "listener" => "[listener.x]\n",
        "route" => "[[listener.x.route]]\n",
        "retry" => "[[listener.x.route]]\nretry.",
        "service" => "[service.x]\n",
        "cluster" => "[cluster.x]\n",
        "endpoint" => "[cluster.x]\nendpoints = [{ ",
        "tls" => "[listener.x.tls]\n",
        "health" => "[cluster.x.health]\n",
        "observe" => "[observe]\n",
        other => panic!("{other} needs a row here"),
    };
    for (kind, key, _) in later::KEYS {
        let end = if *kind == "endpoint" { " }]" } else { "" };
        let text = format!("{}{key} = 1{end}", header(kind));
        let findings = parse(&text).expect_err("a later key is refused");
        let finding = &findings.list[0];
        assert_eq!(finding.kind, FindingKind::NotInThisVersion, "{findings}");
    }
}
