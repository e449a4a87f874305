//! Rules of networks.

use edgestack_model::network::NetworkType;
use edgestack_model::reader::Refusal;
use edgestack_model::{Kind, NetworkSpec};

use super::Noun;
use super::error::AppError;
use super::write::{Write, address_key};

/// Largest identifier of a tunnel network.
const SEGMENT_MAX: u32 = (1 << 24) - 1;

impl Noun for NetworkSpec {
    fn resolve(&mut self, previous: Option<&Self>, write: &mut Write<'_>) -> Result<(), AppError> {
        self.gateway_ip = Some(self.effective_gateway());
        self.ip_pool = Some(self.effective_pool());
        choose_segment(self, previous, write)?;
        if let (NetworkType::Flat, Some(physnet)) = (self.network_type, &self.physnet_name) {
            let what = format!("the physical network `{physnet}`, which carries one FLAT network");
            write.claim(format!("claims/physnets/{physnet}"), "physnet_name", "physnet_in_use", what);
        }
        if let Some(previous) = previous {
            refuse_immutable(self, previous, write);
        }
        if let Some(gateway) = self.gateway_ip {
            let what = format!("the gateway address {gateway}");
            let key = address_key(write.id(), gateway);
            write.claim(key, "gateway_ip", "address_in_use", what);
        }
        Ok(())
    }
}

/// Takes the lowest free identifier where a tunnel network names none, and claims the one it has.
fn choose_segment(
    spec: &mut NetworkSpec,
    previous: Option<&NetworkSpec>,
    write: &mut Write<'_>,
) -> Result<(), AppError> {
    let prefix = match spec.network_type {
        NetworkType::Flat => return Ok(()),
        NetworkType::Vlan => format!("claims/vlans/{}/", spec.physnet_name.as_deref().unwrap_or("-")),
        NetworkType::Vxlan => "claims/vxlans/".to_owned(),
        NetworkType::Geneve => "claims/geneves/".to_owned(),
    };
    if spec.segment_id.is_none() {
        spec.segment_id = previous.and_then(|previous| previous.segment_id);
    }
    let segment = if let Some(segment) = spec.segment_id {
        segment
    } else {
        let mut candidate = 1;
        for taken in write.store().list(&prefix)?.entries {
            if taken.key.ends_with(&format!("{candidate:08x}")) {
                candidate += 1;
            }
        }
        if candidate > SEGMENT_MAX {
            let message = "every identifier of this network type is taken";
            write.conflict(
                "segment_id",
                Refusal { code: "exhausted", message: message.to_owned(), hint: None },
            );
            return Ok(());
        }
        candidate
    };
    spec.segment_id = Some(segment);
    let what = format!("the segment_id {segment}");
    write.claim(format!("{prefix}{segment:08x}"), "segment_id", "segment_in_use", what);
    Ok(())
}

fn refuse_immutable(spec: &NetworkSpec, previous: &NetworkSpec, write: &mut Write<'_>) {
    let NetworkSpec { network_type, segment_id, cidr, external, .. } = previous;
    if spec.network_type != *network_type {
        write.refuse_change("type", &format!("{network_type:?}").to_uppercase());
    }
    if spec.segment_id != *segment_id {
        let kept = segment_id.map_or_else(|| "none".to_owned(), |segment| segment.to_string());
        write.refuse_change("segment_id", &kept);
    }
    if spec.cidr != *cidr {
        write.refuse_change("cidr", &cidr.to_string());
    }
    if spec.external != *external {
        write.refuse_change("external", &external.to_string());
    }
}

/// Refuses a network that is of the other sort than the field wants.
pub(super) fn require_external(
    network: &NetworkSpec,
    wanted: bool,
    field: &str,
    name: &str,
    write: &mut Write<'_>,
) {
    if network.external == wanted {
        return;
    }
    let (is, needs) = if wanted { ("internal", "an external") } else { ("external", "an internal") };
    let message = format!("the {} `{name}` is {is}", Kind::Network);
    write.refuse(field, Refusal::new("wrong_network", message, format!("name {needs} network")));
}
