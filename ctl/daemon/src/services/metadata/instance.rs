//! What a workload may know of itself, read from the store with every request.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use edgestack_model::{FloatingIpSpec, NetworkSpec, PortSpec};

use crate::app::{App, AppError};

/// A workload.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    /// Identifier: that of its port.
    pub(super) id: String,
    /// Its name, and its host name.
    pub(super) name: String,
    pub(super) mac_address: String,
    pub(super) ip_address: Ipv4Addr,
    pub(super) security_groups: Vec<String>,
    /// Public keys of its owner by name, in OpenSSH's format.
    pub(super) keys: Vec<(String, String)>,
    pub(super) user_data: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) floating_ip: Option<Ipv4Addr>,
    pub(super) network_id: String,
    pub(super) network: NetworkSpec,
}

impl Instance {
    /// The workload behind a port of a network, by their ids; none while the port is going, or has no address yet.
    pub(super) fn read(app: &App, port: &str, network: &str) -> Result<Option<Self>, AppError> {
        let port = match app.get::<PortSpec>(port) {
            Ok(shown) => shown.object,
            Err(AppError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let network = app.get::<NetworkSpec>(network)?.object;
        let mut floating_ip = None;
        for id in app.users_of::<PortSpec>(&port.id, "floating_ips")? {
            floating_ip = app.get::<FloatingIpSpec>(&id)?.object.spec.floating_ip;
        }
        let spec = port.spec;
        let (Some(mac_address), Some(ip_address)) = (spec.mac_address, spec.ip_address) else {
            return Ok(None);
        };
        let comment = |key: &str| key.split_whitespace().nth(2).map(str::to_owned);
        let keys = spec.ssh_keys.into_iter().enumerate();
        let keys = keys.map(|(index, key)| (comment(&key).unwrap_or_else(|| format!("key-{index}")), key));
        Ok(Some(Self {
            id: port.id,
            name: port.name,
            mac_address: mac_address.to_string(),
            ip_address,
            security_groups: spec.security_groups.unwrap_or_default(),
            keys: keys.collect(),
            user_data: spec.user_data,
            metadata: spec.metadata,
            floating_ip,
            network_id: network.id,
            network: network.spec,
        }))
    }
}
