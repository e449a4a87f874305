//! A site: a host with the daemon, workloads plugged into it, and the world outside, each in a namespace.
//!
//! ```text
//!  workload [eth0] ---- [NAME] host [uplink0] ---- [eth0] internet
//!                          edgestackd                  198.51.100.1, 203.0.113.10
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::daemon::{Daemon, DaemonSettings, Uplink};
use crate::edgectl::Edgectl;
use crate::error::LabError;
use crate::link::{Plug, connect};
use crate::namespace::{Namespace, unique_prefix};

/// Name of the world outside.
pub const INTERNET: &str = "internet";
/// The host's interface to the world outside.
pub const UPLINK: &str = "uplink0";
/// Name of the physical network that the uplink leads to.
pub const PHYSICAL_NETWORK: &str = "physnet1";
/// The upstream router of the external network, which the world outside plays.
pub const UPSTREAM_IP: &str = "198.51.100.1";
/// A server beyond the upstream router.
pub const SERVER_IP: &str = "203.0.113.10";

/// A workload to be plugged in.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Name of the workload, of its port and of the host's interface: 15 characters at most.
    pub name: &'static str,
    /// MAC address.
    pub mac_address: &'static str,
    /// Address with prefix length.
    pub address: &'static str,
    /// Gateway.
    pub gateway: &'static str,
}

/// A site; dropping it removes it.
#[derive(Debug)]
pub struct Site {
    prefix: String,
    directory: PathBuf,
    // Ends before its host does.
    daemon: Option<Daemon>,
    members: BTreeMap<String, Namespace>,
    host: Namespace,
    keep: bool,
}

impl Site {
    /// A host without anything, under a name that no other site has.
    pub fn unique() -> Result<Self, LabError> {
        Self::named(&unique_prefix())
    }

    /// A host without anything; `prefix` is in front of every name.
    pub fn named(prefix: &str) -> Result<Self, LabError> {
        let directory = std::env::temp_dir().join(prefix);
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LabError::system(format!("empty {}", directory.display()))(error));
            }
            _ => {}
        }
        fs::create_dir_all(&directory).map_err(LabError::system(format!("make {}", directory.display())))?;
        Ok(Self {
            prefix: prefix.to_owned(),
            directory,
            daemon: None,
            members: BTreeMap::new(),
            host: Namespace::create(&format!("{prefix}-host"))?,
            keep: false,
        })
    }

    /// Plugs a workload in. With `xdp` its interface is set up for a port that XDP serves.
    pub fn plug(&mut self, workload: &Workload, xdp: bool) -> Result<(), LabError> {
        let member = Namespace::create(&format!("{}-{}", self.prefix, workload.name))?;
        let plug = Plug {
            mac_address: Some(workload.mac_address),
            address: Some(workload.address),
            gateway: Some(workload.gateway),
            checksums: xdp,
            ..Plug::new(workload.name)
        };
        connect(&self.host, &member, &plug)?;
        self.members.insert(workload.name.to_owned(), member);
        Ok(())
    }

    /// Connects the world outside: the upstream router with a server behind it.
    pub fn connect_internet(&mut self) -> Result<(), LabError> {
        let internet = Namespace::create(&format!("{}-{INTERNET}", self.prefix))?;
        let address = format!("{UPSTREAM_IP}/24");
        let plug = Plug { address: Some(&address), checksums: true, ..Plug::new(UPLINK) };
        connect(&self.host, &internet, &plug)?;
        internet.run(&format!("ip address add {SERVER_IP}/32 dev lo"))?;
        self.members.insert(INTERNET.to_owned(), internet);
        Ok(())
    }

    /// Settings for a daemon of this site; with `uplink` as the uplink's attachment where there is one.
    pub fn daemon_settings(&self, uplink: &str) -> DaemonSettings {
        let mut settings = DaemonSettings::new(self.directory.clone(), &self.prefix);
        if self.members.contains_key(INTERNET) {
            settings.uplinks.push(Uplink {
                interface: UPLINK.to_owned(),
                physical_network: PHYSICAL_NETWORK.to_owned(),
                attach: uplink.to_owned(),
            });
        }
        settings
    }

    /// Starts the daemon on the host.
    pub fn start_daemon(&mut self, settings: DaemonSettings) -> Result<(), LabError> {
        self.daemon = Some(Daemon::start(&self.host, settings)?);
        Ok(())
    }

    /// The daemon, which must have been started.
    pub fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("the site's daemon was started")
    }

    /// `edgectl` for the daemon, which must have been started.
    pub fn edgectl(&self) -> Edgectl {
        self.daemon.as_ref().expect("the site's daemon was started").edgectl()
    }

    /// The host's namespace.
    pub fn host(&self) -> &Namespace {
        &self.host
    }

    /// The namespace of a workload, or of the world outside.
    pub fn member(&self, name: &str) -> &Namespace {
        self.members.get(name).unwrap_or_else(|| panic!("the site has no member {name}"))
    }

    /// Takes the namespace of a workload away from the site, which removes it.
    pub fn unplug(&mut self, name: &str) {
        self.members.remove(name);
    }

    /// A directory for logs.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Leaves the site up when the guard is dropped.
    pub fn keep(&mut self) {
        self.keep = true;
        self.host.keep();
        self.members.values_mut().for_each(Namespace::keep);
        if let Some(daemon) = &mut self.daemon {
            daemon.keep();
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if !self.keep {
            self.daemon = None;
            // What is left lies in the system's directory for such things.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}
