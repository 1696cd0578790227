//! `POST /v1/reload`: reads the config's file again, as SIGHUP does, and says how it went.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use penstock_control::{Applied, Control, Refused};

use crate::Desk;
use crate::problem::Problem;

pub(crate) async fn run(State(desk): State<Desk>) -> Result<Json<Applied>, Problem> {
    let outcome = desk.control.ask(Control::reload).await?;
    Ok(Json(outcome?))
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Problem {
        let status = match &refused {
            Refused::Stale { .. } => StatusCode::PRECONDITION_FAILED,
            Refused::Draining => StatusCode::CONFLICT,
            Refused::Findings(_)
            | Refused::Filter(_)
            | Refused::Tls(_)
            | Refused::Snapshot(_)
            | Refused::Shards(_)
            | Refused::Layer4(_)
            | Refused::Unreadable { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let problem = Problem::new(status, refused.to_string());
        match &refused {
            Refused::Findings(findings) => problem.with("findings", findings.to_json()),
            _ => problem,
        }
    }
}
