//! `GET /v1/certs`: every certificate that is presented, and how long it is valid.

use axum::Json;
use axum::extract::State;
use penstock_control::CertificateView;

use crate::Desk;
use crate::problem::Problem;

pub(crate) async fn list(State(desk): State<Desk>) -> Result<Json<Vec<CertificateView>>, Problem> {
    Ok(Json(desk.control.ask(|control| control.certificate_views()).await?))
}
