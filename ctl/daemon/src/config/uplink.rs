//! The tables `[[uplink]]` of the configuration file.

use edgestack_model::port::Attach;
use serde::Deserialize;
use toml::Spanned;

use super::check::{Check, mistake};

/// Uplinks of one host.
pub const UPLINKS_MAX: usize = 64;

/// An interface to the outside.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    /// Name for people: in counters, traces and `edgectl`.
    pub name: Spanned<String>,
    /// The host's interface. It may be missing when the daemon starts, and come later.
    pub interface: Spanned<String>,
    /// The physical network behind it: networks of type FLAT and VLAN name it as `physnet_name`.
    pub physical_network: Spanned<String>,
    /// How the fast path is attached.
    #[serde(default)]
    pub attach: Attach,
}

impl Check<'_> {
    pub(super) fn uplinks(&mut self, uplinks: &[Uplink]) {
        if uplinks.len() > UPLINKS_MAX {
            let message =
                format!("{} uplinks are more than the {UPLINKS_MAX} that a host may have", uplinks.len());
            self.mistakes.push(mistake(self.text, &uplinks[UPLINKS_MAX].name.span(), message));
        }
        for (index, uplink) in uplinks.iter().enumerate() {
            let earlier = &uplinks[..index];
            let interface = serde_json::Value::from(uplink.interface.get_ref().as_str());
            if edgestack_model::value::interface(&interface).is_err() {
                self.refuse(
                    "uplink.interface",
                    &uplink.interface,
                    "1 to 15 letters without spaces, `/` and `:`",
                );
            }
            for (field, value) in
                [("uplink.name", &uplink.name), ("uplink.physical_network", &uplink.physical_network)]
            {
                if value.get_ref().is_empty() || value.get_ref().len() > 63 {
                    self.refuse(field, value, "1 to 63 letters");
                }
            }
            if earlier.iter().any(|other| other.name.get_ref() == uplink.name.get_ref()) {
                self.refuse("uplink.name", &uplink.name, "another uplink has this name");
            }
            if earlier.iter().any(|other| other.interface.get_ref() == uplink.interface.get_ref()) {
                self.refuse("uplink.interface", &uplink.interface, "another uplink has this interface");
            }
            let same_network =
                |other: &&Uplink| other.physical_network.get_ref() == uplink.physical_network.get_ref();
            if earlier.iter().any(|other| same_network(&other)) {
                let fix = "another uplink leads to this physical network; one each is possible";
                self.refuse("uplink.physical_network", &uplink.physical_network, fix);
            }
        }
    }
}
