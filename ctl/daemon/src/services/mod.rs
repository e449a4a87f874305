//! The gateway's own servers inside tenant networks: the metadata service and DNS.
//!
//! They run as tasks of the daemon on the dataplane's virtual stacks; a caller is known by the port that it is plugged into.
//! Nothing here is on the packet path. Started by `daemon`; what they tell comes from the store and the [`directory`].

pub mod directory;
pub mod dns;
pub mod metadata;
pub(crate) mod stream;
#[cfg(test)]
mod testing;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use edgestack_dataplane::virtual_stack::StackHandle;
use tokio::sync::watch;

use crate::app::App;
use crate::config::{Dns, Metadata};
use directory::Directory;

/// Where the metadata service answers in every network.
pub const METADATA_IP: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Where it answers in every network with IPv6.
pub const METADATA_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// Its TCP port.
pub const METADATA_PORT: u16 = 80;
/// The port of DNS.
pub const DNS_PORT: u16 = 53;

/// Serves until `stop` says so.
pub async fn serve(
    stack: StackHandle,
    app: App,
    directory: watch::Receiver<Arc<Directory>>,
    metadata: Metadata,
    dns: Dns,
    stop: watch::Receiver<bool>,
) {
    let metadata = metadata
        .enabled
        .then(|| tokio::spawn(metadata::serve(stack.clone(), app, metadata.imdsv1, stop.clone())));
    let dns = dns.enabled.then(|| {
        let forwarders = dns.effective_forwarders();
        let forwarders = forwarders.into_iter().map(|address| SocketAddr::new(address, DNS_PORT)).collect();
        tokio::spawn(dns::serve(stack, directory, forwarders, stop))
    });
    for server in metadata.into_iter().chain(dns) {
        if let Err(error) = server.await {
            tracing::error!(%error, "a server for workloads has failed");
        }
    }
}

/// Random bytes from the kernel.
fn random_bytes<const LENGTH: usize>() -> std::io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    let mut filled = 0;
    while filled < LENGTH {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}
