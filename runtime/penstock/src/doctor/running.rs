//! A Penstock that runs already: what it says of itself.

use std::path::Path;

use penstock_config::Admin;
use penstock_control::DiskFiles;
use serde_json::Value;

use super::report::{Level, Report};
use crate::admin_client::{AskError, Door};

/// Asks the one of this admin API; whether it runs.
pub(crate) fn look(admin: &Admin, files: &DiskFiles, report: &mut Report) -> bool {
    let door = match Door::of(admin, files) {
        Ok(door) => door,
        Err(error) => {
            let what = format!("admin.token_file: {error}");
            report.put("admin", Level::Unknown, what, "look as a user who may read it");
            return false;
        }
    };
    let status = match asked(&door, "/v1/status") {
        Ok(status) => status,
        Err(error) => {
            let (level, what, advice) = judge_absence(&error, &door);
            report.put("admin", level, what, advice);
            return false;
        }
    };
    judge_status(&status, report);
    if let Ok(services) = asked(&door, "/v1/services") {
        judge_backends(&services, report);
    }
    if let Ok(fleet) = asked(&door, "/v1/fleet") {
        judge_sessions(&fleet, report);
    }
    true
}

fn asked(door: &Door, path: &str) -> Result<Value, AskError> {
    let answer = door.ask("GET", path)?;
    if answer.status != 200 {
        return Err(AskError::Status(answer.status));
    }
    serde_json::from_str(&answer.body).map_err(|_| AskError::NotHttp)
}

fn judge_absence(error: &AskError, door: &Door) -> (Level, String, &'static str) {
    let has_folder = match door {
        Door::Unix(socket) => socket.parent().is_some_and(Path::is_dir),
        Door::Tcp(..) => true,
    };
    match error {
        AskError::Connect { error, .. } => match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                let what = format!("{door}: this user may not ask");
                (Level::Unknown, what, "look as root, or be in the socket's group")
            }
            _ if !has_folder => {
                let what = format!("there is no folder for {door}");
                (Level::Fail, what, "make it: RuntimeDirectory=penstock in the unit")
            }
            _ => (Level::Ok, format!("nobody answers at {door}: Penstock does not run"), ""),
        },
        AskError::Status(_) => (Level::Fail, error.to_string(), "see `token_file`, and its log"),
        error => (Level::Fail, error.to_string(), "another program has the socket"),
    }
}

fn judge_status(status: &Value, report: &mut Report) {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let what = format!("Penstock {} is {}", text(&status["version"]), text(&status["state"]));
    match status["ready"] == true {
        true => report.ok("admin", what + ", ready"),
        false => report.put("admin", Level::Warn, what + ", not ready", "its log says why"),
    }
    if let Some(why) = status["config"]["last_refusal"].as_str() {
        let what = format!("the last reload was refused: {why}");
        report.put("admin", Level::Fail, what, "mend the config, `penstock reload`");
    }
    let waiting = status["config"]["needs_restart"].as_array().map_or(0, Vec::len);
    if waiting > 0 {
        let what = format!("{waiting} keys of the config wait for a restart");
        report.put("admin", Level::Warn, what, "`penstock reload` names them");
    }
}

fn judge_backends(services: &Value, report: &mut Report) {
    for service in services.as_array().into_iter().flatten() {
        let Some(backends) = service["backends"].as_array() else { continue };
        let name = service["name"].as_str().unwrap_or("?");
        let down = backends.iter().filter(|one| one["health"] == "down");
        let down: Vec<&Value> = down.collect();
        if down.is_empty() {
            report.ok("health", format!("service.{name}: {} backends are well", backends.len()));
        }
        for backend in down {
            let text = |key: &str| backend[key].as_str().unwrap_or("?").to_owned();
            let what = format!("service.{name}: {} is down: {}", text("address"), text("reason"));
            let advice = "`penstock doctor --backend VIP:PORT` there says what it lacks";
            report.put("health", Level::Fail, what, advice);
        }
    }
}

fn judge_sessions(fleet: &Value, report: &mut Report) {
    for session in fleet["bgp"]["sessions"].as_array().into_iter().flatten() {
        let text = |key: &str| session[key].as_str().unwrap_or("?").to_owned();
        let what = format!("{} is {}", text("peer"), text("state"));
        match session["established"] == true {
            true => report.ok("bgp", what),
            false => {
                let advice = "`birdc show protocols all` says why; is TCP port 179 open?";
                report.put("bgp", Level::Fail, what, advice);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::report::{Level, Report};
    use super::{judge_backends, judge_sessions, judge_status};

    #[track_caller]
    fn check(judge: fn(&Value, &mut Report), value: &Value, expected: &[(Level, &str)]) {
        let mut report = Report::default();
        judge(value, &mut report);
        let found = report.findings.iter().map(|one| (one.level, one.what.as_str()));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_it_says_of_itself_is_judged() {
        let config = json!({ "last_refusal": "no", "needs_restart": ["runtime.shards"] });
        let status = json!({ "version": "1", "state": "serving", "ready": true, "config": config });
        let expected = [
            (Level::Ok, "Penstock 1 is serving, ready"),
            (Level::Fail, "the last reload was refused: no"),
            (Level::Warn, "1 keys of the config wait for a restart"),
        ];
        check(judge_status, &status, &expected);
        let draining = json!({ "version": "1", "state": "draining", "ready": false });
        check(judge_status, &draining, &[(Level::Warn, "Penstock 1 is draining, not ready")]);
    }

    #[test]
    fn backends_that_are_down_are_named_with_the_reason() {
        let up = json!({ "address": "10.0.0.1", "health": "up" });
        let down = json!({ "address": "10.0.0.2", "health": "down", "reason": "late" });
        let services = json!([{ "name": "a", "backends": [up] }, { "name": "b" },
                              { "name": "c", "backends": [up, down] }]);
        let expected = [
            (Level::Ok, "service.a: 1 backends are well"),
            (Level::Fail, "service.c: 10.0.0.2 is down: late"),
        ];
        check(judge_backends, &services, &expected);
    }

    #[test]
    fn a_session_that_is_not_established_does_not_announce() {
        let sessions = json!([{ "peer": "10.0.0.1", "state": "Established", "established": true },
                              { "peer": "10.0.0.9", "state": "Active", "established": false }]);
        let expected =
            [(Level::Ok, "10.0.0.1 is Established"), (Level::Fail, "10.0.0.9 is Active")];
        check(judge_sessions, &json!({ "bgp": { "sessions": sessions } }), &expected);
    }
}
