//! The kernel's side of the fast path: loads tier 0, attaches it to interfaces and shares its tables.
//!
//! Everything that a packet needs outlives the daemon: maps and links are pinned below
//! `PIN_ROOT/v<ABI version>/INSTANCE/`, maps by their names, links as `link-<port key>-<xdp|tc>`. A new daemon loads its own
//! programs over the pinned maps and replaces the programs of pinned links one by one, each between two packets.
//! An instance belongs to one network namespace; several may run side by side under names of their own.
//!
//! Called by the runtime's control thread; never on the packet path. What the flows say is the engine's business.

mod counters;
mod diagnose;
mod error;
mod link;
pub(crate) mod netlink;
mod object;
mod system;
mod test_run;
mod trunk;

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{Array, DevMap, XskMap};
use aya::programs::Program;
use edgestack_abi::maps::{self, Control, MAX_INTERFACE_INDEX, MAX_PORTS};
use edgestack_abi::tunnel::{INDEX_BUCKETS, MAX_TUNNELS};
use tracing::{info, warn};

use crate::tables::region::{Region, Regions};

pub use diagnose::{Finding, diagnose};
pub use error::FastPathError;
pub use link::{Attached, Hook};
pub use object::{OBJECT_VARIABLE, TableSizes};
pub use test_run::{SkbOptions, TestRun, Verdict};
pub use trunk::{DEFAULT_INSTANCE, TRUNK_MTU, Trunk, trunk_names};

/// Where a BPF file system is mounted when there is none yet.
const BPF_FILE_SYSTEM: &str = "/sys/fs/bpf";
/// Most buckets: 8 GB of table.
const BUCKETS_MAX: u32 = 1 << 24;
const INSTANCE_LENGTH_MAX: usize = 64;
/// Port key of the trunk's links.
const TRUNK_KEY: &str = "trunk";

/// How the fast path is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FastPathSettings {
    /// The object file; looked for where left out, see [`OBJECT_VARIABLE`].
    pub object_path: Option<PathBuf>,
    /// Directory on a BPF file system under which everything is pinned.
    pub pin_root: PathBuf,
    /// Tells several daemons of one machine apart.
    pub instance: String,
    /// Sizes of tables that are made anew; pinned ones keep theirs.
    pub sizes: TableSizes,
    /// Makes the tables anew even if there are pinned ones, which ends all connections.
    pub recreate: bool,
}

impl Default for FastPathSettings {
    fn default() -> Self {
        let buckets = maps::DEFAULT_BUCKETS;
        Self {
            object_path: None,
            pin_root: Path::new(BPF_FILE_SYSTEM).join("edgestack"),
            instance: DEFAULT_INSTANCE.to_owned(),
            // Two entries per session: the table is a quarter full when the sessions run out.
            sizes: TableSizes { buckets, sessions: buckets / 2 },
            recreate: false,
        }
    }
}

/// The loaded programs and their maps.
#[derive(Debug)]
pub struct FastPath {
    object: Ebpf,
    pins: Option<PathBuf>,
    instance: String,
    sizes: TableSizes,
    adopted: bool,
    /// Links that no pin keeps: those of a fast path that pins nothing.
    unpinned_links: HashMap<String, OwnedFd>,
}

impl FastPath {
    /// Loads the programs over the pinned maps, or over new ones that it pins.
    pub fn load(settings: &FastPathSettings) -> Result<Self, FastPathError> {
        check(settings)?;
        let object_path = object::find(settings)?;
        let pins = pin_directory(&settings.pin_root, &settings.instance);
        prepare(&settings.pin_root, &pins)?;
        let pinned = if settings.recreate { None } else { object::pinned_sizes(&pins)? };
        if pinned.is_none() {
            // To be made anew; or only some are there, from a daemon that died while it pinned them.
            remove_pins(&pins)?;
        }
        let sizes = pinned.unwrap_or(settings.sizes);
        if sizes != settings.sizes {
            warn!(
                pinned_buckets = sizes.buckets,
                pinned_sessions = sizes.sessions,
                wanted_buckets = settings.sizes.buckets,
                wanted_sessions = settings.sizes.sessions,
                "the pinned tables keep their sizes; to change them, stop the daemon and run `edgestackd --unpin`"
            );
        }
        let object = object::load(&object_path, Some(&pins), sizes)?;
        let mut fast_path = Self {
            object,
            pins: Some(pins),
            instance: settings.instance.clone(),
            sizes,
            adopted: pinned.is_some(),
            unpinned_links: HashMap::new(),
        };
        fast_path.initialise()?;
        info!(object = %object_path.display(), adopted = fast_path.adopted, buckets = sizes.buckets, "fast path loaded");
        Ok(fast_path)
    }

    /// Loads the programs over maps that are pinned nowhere and vanish with the value, and so do its links. For tests
    /// and benches; `instance` names the trunk.
    pub fn load_unpinned(
        object_path: Option<PathBuf>,
        instance: &str,
        sizes: TableSizes,
    ) -> Result<Self, FastPathError> {
        let settings = FastPathSettings {
            object_path,
            instance: instance.to_owned(),
            sizes,
            ..FastPathSettings::default()
        };
        check(&settings)?;
        let object = object::load(&object::find(&settings)?, None, sizes)?;
        let mut fast_path = Self {
            object,
            pins: None,
            instance: settings.instance,
            sizes,
            adopted: false,
            unpinned_links: HashMap::new(),
        };
        fast_path.initialise()?;
        Ok(fast_path)
    }

    /// The control record of new tables: the seed is drawn once, since every entry's place hangs on it.
    fn initialise(&mut self) -> Result<(), FastPathError> {
        let map = self.object.map_mut(maps::CONTROL).ok_or_else(|| missing(maps::CONTROL))?;
        let array: Array<_, [u32; size_of::<Control>() / 4]> =
            Array::try_from(map).map_err(FastPathError::map(maps::CONTROL))?;
        let first = array.get(&0, 0).map_err(FastPathError::map(maps::CONTROL))?;
        if first[0] != 0 || first[1] != 0 {
            return Ok(());
        }
        let regions = self.regions()?;
        let control =
            Control { hash_seed: random_seed(), bucket_mask: self.sizes.buckets - 1, ..Control::default() };
        regions.control.write(0, control);
        Ok(())
    }

    /// The tables as memory, for the engine.
    pub fn regions(&self) -> Result<Regions, FastPathError> {
        Ok(Regions {
            flows: self.region(maps::FLOWS, self.sizes.buckets)?,
            flow_tags: self.region(maps::FLOW_TAGS, self.sizes.buckets)?,
            sessions: self.region(maps::SESSIONS, self.sizes.sessions)?,
            session_addresses: self.region(maps::SESSION_ADDRESSES, self.sizes.sessions)?,
            ports: self.region(maps::PORTS, MAX_PORTS)?,
            port_by_interface: self.region(maps::PORT_BY_INTERFACE, MAX_INTERFACE_INDEX)?,
            tunnels: self.region(maps::TUNNELS, MAX_TUNNELS)?,
            tunnel_index: self.region(maps::TUNNEL_INDEX, INDEX_BUCKETS)?,
            control: self.region(maps::CONTROL, 1)?,
        })
    }

    fn region<T: Copy>(&self, name: &'static str, length: u32) -> Result<Region<T>, FastPathError> {
        let data = object::map_data(&self.object, name).ok_or_else(|| missing(name))?;
        Region::map(data.fd().as_fd(), length as usize).map_err(FastPathError::map(name))
    }

    /// Sizes of the tables, which may differ from the settings' where they were adopted.
    pub fn sizes(&self) -> TableSizes {
        self.sizes
    }

    /// The tables were there already, with the flows of a daemon before this one.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Attaches XDP to the interface of a port. `port_key` names the port's links; it must stay the same for the same
    /// port, and may be any text.
    pub fn attach_xdp(&mut self, port_key: &str, interface_index: u32) -> Result<Attached, FastPathError> {
        self.check_vlan_tags(interface_index)?;
        self.attach(maps::PROGRAM_XDP_PORT, Hook::Xdp, port_key, interface_index)
    }

    /// Sees to it that an interface leaves VLAN tags in the frames that it receives, and refuses one that does not: it
    /// would show XDP frames of other networks as untagged ones. An interface without the setting takes none off.
    pub fn check_vlan_tags(&self, interface_index: u32) -> Result<(), FastPathError> {
        match netlink::leave_vlan_tags_in_received_frames(interface_index) {
            Ok(false) => Err(FastPathError::VlanTags(interface_index)),
            Ok(true) | Err(_) => Ok(()),
        }
    }

    /// Attaches TC to the interface of a port.
    pub fn attach_tc(&mut self, port_key: &str, interface_index: u32) -> Result<Attached, FastPathError> {
        self.attach(maps::PROGRAM_TC_PORT, Hook::Tc, port_key, interface_index)
    }

    fn attach_trunk(&mut self, hook: Hook, interface_index: u32) -> Result<Attached, FastPathError> {
        let program = match hook {
            Hook::Xdp => maps::PROGRAM_XDP_TRUNK,
            Hook::Tc => maps::PROGRAM_TC_TRUNK,
        };
        self.attach(program, hook, TRUNK_KEY, interface_index)
    }

    fn attach(
        &mut self,
        program: &'static str,
        hook: Hook,
        port_key: &str,
        interface_index: u32,
    ) -> Result<Attached, FastPathError> {
        let name = link_name(port_key, hook);
        let pin = self.pins.as_ref().map(|pins| pins.join(&name));
        // A link without a pin is let go first, since an interface has room for one XDP program.
        if let Some(link) = self.unpinned_links.remove(&name) {
            link::detach(&link);
        }
        let program = self.program(program)?;
        let (attached, link) = link::attach(hook, program, interface_index, pin.as_deref())?;
        if pin.is_none() {
            self.unpinned_links.insert(name, link);
        }
        Ok(attached)
    }

    /// Detaches what is attached for a port at `hook`. Nothing there is no error.
    pub fn detach(&mut self, port_key: &str, hook: Hook) -> Result<(), FastPathError> {
        let name = link_name(port_key, hook);
        if let Some(link) = self.unpinned_links.remove(&name) {
            link::detach(&link);
        }
        match &self.pins {
            Some(pins) => link::remove(&pins.join(name)),
            None => Ok(()),
        }
    }

    /// Detaches the ports that are not among `port_keys`: those that left the configuration while no daemon ran.
    /// Returns how many links that were.
    pub fn detach_others(&mut self, port_keys: &[&str]) -> Result<usize, FastPathError> {
        let Some(pins) = &self.pins else { return Ok(0) };
        let kept: Vec<String> = port_keys
            .iter()
            .chain(&[TRUNK_KEY])
            .flat_map(|key| [link_name(key, Hook::Xdp), link_name(key, Hook::Tc)])
            .collect();
        let others = pinned_links(pins)?.into_iter().filter(|name| !kept.contains(name));
        let mut detached = 0;
        for name in others {
            link::remove(&pins.join(name))?;
            detached += 1;
        }
        Ok(detached)
    }

    /// Interface that the pinned link of a port is attached to: none without a link, 0 when the interface is gone.
    pub fn attached_interface(&self, port_key: &str, hook: Hook) -> Result<Option<u32>, FastPathError> {
        match &self.pins {
            Some(pins) => link::pinned_interface(&pins.join(link_name(port_key, hook))),
            None => Ok(None),
        }
    }

    /// Tells XDP which interface is behind a port; none takes the port's away.
    pub fn set_device(&mut self, port: u16, interface_index: Option<u32>) -> Result<(), FastPathError> {
        let map = self.object.map_mut(maps::DEVICES).ok_or_else(|| missing(maps::DEVICES))?;
        if let Some(index) = interface_index {
            let mut devices = DevMap::try_from(map).map_err(FastPathError::map(maps::DEVICES))?;
            return devices.set(u32::from(port), index, None, 0).map_err(FastPathError::map(maps::DEVICES));
        }
        self.delete_element(maps::DEVICES, u32::from(port))
    }

    /// Puts an AF_XDP socket at an index of the map of sockets; none takes it away. A socket that is closed leaves by
    /// itself.
    pub fn set_socket(&mut self, index: u32, socket: Option<BorrowedFd<'_>>) -> Result<(), FastPathError> {
        let Some(socket) = socket else { return self.delete_element(maps::SOCKETS, index) };
        let map = self.object.map_mut(maps::SOCKETS).ok_or_else(|| missing(maps::SOCKETS))?;
        let mut sockets = XskMap::try_from(map).map_err(FastPathError::map(maps::SOCKETS))?;
        sockets.set(index, socket.as_raw_fd(), 0).map_err(FastPathError::map(maps::SOCKETS))
    }

    fn delete_element(&mut self, name: &'static str, key: u32) -> Result<(), FastPathError> {
        let data = object::map_data(&self.object, name).ok_or_else(|| missing(name))?;
        match system::delete_element(data.fd().as_fd(), key) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(FastPathError::map(name)(error))
            }
            _ => Ok(()),
        }
    }

    fn program(&self, name: &'static str) -> Result<BorrowedFd<'_>, FastPathError> {
        let descriptor = match self.object.program(name) {
            Some(Program::Xdp(program)) => program.fd(),
            Some(Program::SchedClassifier(program)) => program.fd(),
            _ => return Err(missing(name)),
        };
        match descriptor {
            Ok(descriptor) => Ok(descriptor.as_fd()),
            Err(source) => Err(FastPathError::Program { name, source: Box::new(source) }),
        }
    }

    /// Detaches everything of an instance and removes its pins and its trunk: the end of all its connections. Nothing
    /// there is no error.
    pub fn unpin(pin_root: &Path, instance: &str) -> Result<(), FastPathError> {
        check_instance(instance)?;
        let pins = pin_directory(pin_root, instance);
        if pins.exists() {
            remove_pins(&pins)?;
            fs::remove_dir(&pins).map_err(FastPathError::system("remove", &pins))?;
        }
        trunk::delete(instance)
    }
}

/// Where an instance's maps and links are pinned.
pub fn pin_directory(pin_root: &Path, instance: &str) -> PathBuf {
    pin_root.join(format!("v{}", maps::ABI_VERSION)).join(instance)
}

fn check(settings: &FastPathSettings) -> Result<(), FastPathError> {
    check_instance(&settings.instance)?;
    let buckets = settings.sizes.buckets;
    if !buckets.is_power_of_two() || buckets > BUCKETS_MAX {
        return Err(FastPathError::Buckets(buckets));
    }
    Ok(())
}

fn check_instance(instance: &str) -> Result<(), FastPathError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if instance.is_empty() || instance.len() > INSTANCE_LENGTH_MAX || !instance.bytes().all(allowed) {
        return Err(FastPathError::Instance(instance.to_owned()));
    }
    Ok(())
}

/// Makes the pin directory, mounting a BPF file system first where there is none at its usual place.
fn prepare(pin_root: &Path, pins: &Path) -> Result<(), FastPathError> {
    let mount = Path::new(BPF_FILE_SYSTEM);
    if pin_root.starts_with(mount) {
        let mounted = system::is_bpf_file_system(mount).map_err(FastPathError::system("look at", mount))?;
        if !mounted {
            system::mount_bpf_file_system(mount)
                .map_err(FastPathError::system("mount a BPF file system at", mount))?;
            info!(path = BPF_FILE_SYSTEM, "mounted the BPF file system");
        }
    }
    fs::create_dir_all(pins).map_err(FastPathError::system("make the pin directory", pins))?;
    match system::is_bpf_file_system(pins) {
        Ok(true) => Ok(()),
        Ok(false) => Err(FastPathError::NotBpfFileSystem(pins.to_owned())),
        Err(error) => Err(FastPathError::system("look at", pins)(error)),
    }
}

/// Name of a link's pin. The key may be any text; a pin's name may hold neither a slash nor a dot.
fn link_name(port_key: &str, hook: Hook) -> String {
    let key: String = port_key
        .chars()
        .map(
            |character| {
                if character.is_ascii_alphanumeric() || "-_".contains(character) { character } else { '_' }
            },
        )
        .collect();
    format!("link-{key}-{}", hook.label())
}

fn pinned_links(pins: &Path) -> Result<Vec<String>, FastPathError> {
    let entries = fs::read_dir(pins).map_err(FastPathError::system("list", pins))?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("link-"))
        .collect())
}

/// Links first: no program may run over maps that are half gone.
fn remove_pins(pins: &Path) -> Result<(), FastPathError> {
    for name in pinned_links(pins)? {
        link::remove(&pins.join(name))?;
    }
    object::remove_map_pins(pins)
}

fn missing(name: &'static str) -> FastPathError {
    FastPathError::map(name)(std::io::Error::from(std::io::ErrorKind::NotFound))
}

/// A secret for the flow hash: never 0, which marks a control record as new.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library keys its hashers with the kernel's random numbers.
    RandomState::new().hash_one("hash_seed") | 1
}

#[cfg(test)]
mod tests {
    use super::{Hook, check_instance, link_name, random_seed};

    #[test]
    fn instances_are_names_and_nothing_else() {
        for right in ["default", "site-1", "a_b"] {
            check_instance(right).unwrap();
        }
        for wrong in ["", "a/b", "..", "a b", &"x".repeat(65)] {
            assert!(check_instance(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn pins_of_links_hold_no_path() {
        assert_eq!(link_name("web-1", Hook::Xdp), "link-web-1-xdp");
        assert_eq!(link_name("../a.b", Hook::Tc), "link-___a_b-tc");
    }

    #[test]
    fn seeds_differ_and_are_never_zero() {
        assert_ne!(random_seed(), random_seed());
        assert_ne!(random_seed(), 0);
    }
}
