//! `GET /v1/certs`: every certificate that is presented, and how long it is valid; and how those
//! by ACME stand.

use axum::Json;
use axum::extract::State;
use penstock_control::{AcmeView, CertificateView, Control};
use serde::Serialize;

use crate::Desk;
use crate::problem::Problem;

/// An item of the list: what is presented has a digest, what is ordered has `acme`.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Item {
    Presented(CertificateView),
    ByAcme(AcmeView),
}

pub(crate) async fn list(State(desk): State<Desk>) -> Result<Json<Vec<Item>>, Problem> {
    let items = |control: &mut Control| {
        let presented = control.certificate_views().into_iter().map(Item::Presented);
        presented.chain(control.acme_views().into_iter().map(Item::ByAcme)).collect()
    };
    Ok(Json(desk.control.ask(items).await?))
}
