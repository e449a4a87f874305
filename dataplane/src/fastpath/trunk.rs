//! The trunk: a veth pair of the daemon's own by which TC-attached ports and the engine exchange packets.
//!
//! The kernel's end carries `edgestack_tc_trunk`, the engine's end `edgestack_xdp_trunk` and the engine's sockets; see
//! `edgestack_abi::punt`. The pair outlives the daemon like everything that is pinned, so that a restart finds it.

use super::FastPath;
use super::error::FastPathError;
use super::link::Hook;
use super::netlink::{self, Netlink, Offload, VethEnd};
use crate::io::interface::Interfaces;

/// MTU of the trunk: the largest that a veth with XDP takes is about 3500 on machines with 4 KB pages. A port whose MTU
/// is larger exchanges only packets up to this with the engine; tier 0 forwards all.
pub const TRUNK_MTU: u32 = 3490;
/// Instance of a daemon that names none; its trunk has the plain name.
pub const DEFAULT_INSTANCE: &str = "default";

/// The trunk as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Index of the kernel's end, for `Control::trunk_interface_index`.
    pub kernel_index: u32,
    /// Name of the kernel's end.
    pub kernel_name: String,
    /// Index of the engine's end, for its sockets.
    pub engine_index: u32,
    /// Name of the engine's end.
    pub engine_name: String,
    /// Queues of either end, one per worker.
    pub queues: u32,
}

/// Names of the kernel's and the engine's end. Of instances other than the default they hold a number made of
/// the instance's name, since names of interfaces are short.
pub fn trunk_names(instance: &str) -> [String; 2] {
    if instance == DEFAULT_INSTANCE {
        return ["es-trunk0".to_owned(), "es-trunk1".to_owned()];
    }
    // FNV-1a: stable from one version to the next.
    let hash = instance
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    [format!("es{hash:08x}-0"), format!("es{hash:08x}-1")]
}

impl FastPath {
    /// Makes the trunk with this many queues, or adopts the one that is there, and attaches its programs. One with
    /// another number of queues is made again.
    pub fn set_up_trunk(&mut self, queues: u32) -> Result<Trunk, FastPathError> {
        let [kernel_name, engine_name] = trunk_names(&self.instance);
        let interfaces = Interfaces::open().map_err(FastPathError::interface("look for", &kernel_name))?;
        let find = |name: &str| interfaces.find(name).map_err(FastPathError::interface("look for", name));
        let mut netlink = Netlink::open().map_err(FastPathError::interface("make", &kernel_name))?;
        match (find(&kernel_name)?, find(&engine_name)?) {
            (Some(_), Some(engine)) if engine.receive_queues == queues => {}
            (kernel, engine) => {
                // One end may be gone, or be another's interface of that name; deleting the first may delete the second.
                if let Some(end) = kernel {
                    netlink.delete(end.index).map_err(FastPathError::interface("delete", &kernel_name))?;
                }
                if let Some(end) = engine
                    && find(&engine_name)?.is_some()
                {
                    netlink.delete(end.index).map_err(FastPathError::interface("delete", &engine_name))?;
                }
                let end = |name| VethEnd { name, queues, mtu: TRUNK_MTU };
                netlink
                    .create_veth(end(&kernel_name), end(&engine_name))
                    .map_err(FastPathError::interface("make the veth pair", &kernel_name))?;
            }
        }
        let missing = |name: &str| {
            FastPathError::interface("find", name)(std::io::Error::from_raw_os_error(libc::ENODEV))
        };
        let kernel = find(&kernel_name)?.ok_or_else(|| missing(&kernel_name))?;
        let engine = find(&engine_name)?.ok_or_else(|| missing(&engine_name))?;
        for name in [&kernel_name, &engine_name] {
            // The pair is nobody's network: without this the host would announce itself there. A kernel without IPv6 has no
            // such switch, and needs none.
            let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
        }
        set_offloads(&kernel_name, &engine_name)?;
        self.attach_trunk(Hook::Tc, kernel.index)?;
        self.attach_trunk(Hook::Xdp, engine.index)?;
        // The kernel's end last: the first of a pair has no carrier when it comes up, and a queue that drops what is sent
        // until a timer of the kernel looks again, up to a second later. The engine's sockets use no queue.
        for (index, name) in [(engine.index, &engine_name), (kernel.index, &kernel_name)] {
            netlink.set_up(index).map_err(FastPathError::interface("bring up", name))?;
        }
        Ok(Trunk { kernel_index: kernel.index, kernel_name, engine_index: engine.index, engine_name, queues })
    }
}

/// The engine reads frames, not the stack's notes about them: towards it, checksums are computed, segments cut (the XDP
/// program at its end sees to that) and tags put into the frame before a packet enters the trunk. From it,
/// packets of one stream are merged again for the way out.
fn set_offloads(kernel_name: &str, engine_name: &str) -> Result<(), FastPathError> {
    let failed = |name| FastPathError::interface("set the offloads of", name);
    for name in [kernel_name, engine_name] {
        netlink::set_offload(name, Offload::TransmitChecksum, false).map_err(failed(name))?;
        netlink::put_vlan_tags_into_frames(name).map_err(failed(name))?;
    }
    netlink::set_offload(kernel_name, Offload::GenericReceive, true).map_err(failed(kernel_name))
}

/// Deletes the trunk of an instance. None there is no error.
pub(super) fn delete(instance: &str) -> Result<(), FastPathError> {
    for name in trunk_names(instance) {
        let failed = FastPathError::interface("delete", &name);
        let found = Interfaces::open().and_then(|interfaces| interfaces.find(&name));
        let deleted = found.and_then(|found| match found {
            Some(interface) => Netlink::open()?.delete(interface.index),
            None => Ok(()),
        });
        deleted.map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_INSTANCE, trunk_names};
    use crate::io::interface::INTERFACE_NAME_LENGTH_MAX;

    #[test]
    fn names_are_short_and_their_own() {
        let default = trunk_names(DEFAULT_INSTANCE);
        let other = trunk_names("an-instance-with-a-rather-long-name");
        assert_eq!(default[0], "es-trunk0");
        for name in default.iter().chain(&other) {
            assert!(name.len() <= INTERFACE_NAME_LENGTH_MAX, "{name}");
        }
        assert_ne!(trunk_names("a"), trunk_names("b"));
    }
}
