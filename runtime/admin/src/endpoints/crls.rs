//! `GET /v1/crls`: every revocation list that is looked into, and by when a newer one is due.

use axum::Json;
use axum::extract::State;
use penstock_control::{Control, RevocationListView};

use crate::Desk;
use crate::problem::Problem;

pub(crate) async fn list(
    State(desk): State<Desk>,
) -> Result<Json<Vec<RevocationListView>>, Problem> {
    let views = |control: &mut Control| control.revocation_list_views();
    Ok(Json(desk.control.ask(views).await?))
}
