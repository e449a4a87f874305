//! Paths of networks: those that every kind has, the addresses that are given and free, and the physical networks.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use edgestack_model::{Kind, NetworkSpec, value};
use serde_json::{Value, json};

use super::error::Failure;
use super::objects::{self, run};
use super::parameters::Parameters;
use super::routes::Routes;
use super::{Api, PREFIX};

/// Free addresses of a network that are shown unless more are asked for.
const AVAILABLE_DEFAULT: usize = 256;
/// Free addresses of a network that may be asked for.
pub(super) const AVAILABLE_MAX: u64 = 4096;

/// The paths.
pub(super) fn routes() -> Routes {
    let networks = format!("{PREFIX}/networks");
    objects::routes::<NetworkSpec>()
        .read(&format!("{networks}/available_ips"), Kind::Network, available_addresses)
        .read(&format!("{networks}/{{name}}/allocations"), Kind::Network, allocations)
        .read(&format!("{PREFIX}/physnets"), Kind::Network, physical_networks)
}

async fn allocations(
    api: Api,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Response, Failure> {
    parameters.finish()?;
    let (allocations, free) = run(&api, move |app| app.allocations(&name)).await?;
    let rows: Vec<Value> = allocations
        .iter()
        .map(|(allocation, mac)| {
            json!({ "ip_address": allocation.address, "purpose": allocation.purpose(), "id": allocation.id,
                "name": allocation.name, "mac_address": mac })
        })
        .collect();
    Ok(axum::Json(json!({ "allocations": rows, "total": rows.len(), "free": free })).into_response())
}

async fn available_addresses(api: Api, mut parameters: Parameters) -> Result<Response, Failure> {
    let limit = parameters.optional(&["limit"], |limit| value::integer(limit, 1, AVAILABLE_MAX));
    parameters.finish()?;
    let limit = limit.map_or(AVAILABLE_DEFAULT, |limit| limit as usize);
    let networks = run(&api, move |app| app.available_addresses(limit)).await?;
    let row = |(network, ips, total)| json!({ "network": network, "ips": ips, "total": total });
    let all: Vec<Value> = networks.into_iter().map(row).collect();
    Ok(axum::Json(json!({ "all_ips": all })).into_response())
}

async fn physical_networks(api: Api, parameters: Parameters) -> Result<Response, Failure> {
    parameters.finish()?;
    let row = |uplink: &crate::reconcile::network::Uplink| json!({ "name": uplink.physical_network, "interface": uplink.interface, "uplink": uplink.name });
    let rows: Vec<Value> = api.uplinks.iter().map(row).collect();
    Ok(axum::Json(json!({ "physnets": rows, "total": rows.len() })).into_response())
}
