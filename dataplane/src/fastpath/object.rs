//! The object file of the kernel programs: where it is, and how it becomes loaded maps and programs.

use std::path::{Path, PathBuf};

use aya::maps::{Map, MapData, MapInfo};
use aya::programs::{SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use edgestack_abi::{FlowBucket, PortCounters, PortEntry, Session, SessionAddresses, TunnelEntry, maps};

use super::FastPathSettings;
use super::error::FastPathError;

/// Names an object file, before all other places.
pub const OBJECT_VARIABLE: &str = "EDGESTACK_EBPF_OBJECT";
const OBJECT_NAME: &str = "edgestack.o";

/// The maps of the object, with the size of a record. Each is pinned under its name.
const MAPS: [(&str, usize); 13] = [
    (maps::FLOWS, size_of::<FlowBucket>()),
    (maps::FLOW_TAGS, size_of::<u64>()),
    (maps::SESSIONS, size_of::<Session>()),
    (maps::SESSION_ADDRESSES, size_of::<SessionAddresses>()),
    (maps::PORTS, size_of::<PortEntry>()),
    (maps::PORT_BY_INTERFACE, size_of::<u32>() * maps::MAX_INTERFACE_INDEX as usize),
    (maps::TUNNELS, size_of::<TunnelEntry>()),
    (maps::TUNNEL_INDEX, size_of::<u64>()),
    (maps::CONTROL, size_of::<maps::Control>()),
    (maps::PORT_COUNTERS, size_of::<PortCounters>()),
    (maps::DROPS, size_of::<u64>()),
    (maps::DEVICES, 8), // struct bpf_devmap_val: interface and program
    (maps::SOCKETS, size_of::<u32>()),
];
const XDP_PROGRAMS: [&str; 2] = [maps::PROGRAM_XDP_PORT, maps::PROGRAM_XDP_TRUNK];
const TC_PROGRAMS: [&str; 2] = [maps::PROGRAM_TC_PORT, maps::PROGRAM_TC_TRUNK];

/// Sizes of the tables that the configuration chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSizes {
    /// Buckets of the flow table, a power of two; each holds four entries.
    pub buckets: u32,
    /// Sessions.
    pub sessions: u32,
}

/// Where the object file is looked for, in this order: the settings, the environment, beside the program, below
/// the build directory that the program is in, and where `make install` puts it.
pub(super) fn find(settings: &FastPathSettings) -> Result<PathBuf, FastPathError> {
    let named = settings.object_path.clone().or_else(|| std::env::var_os(OBJECT_VARIABLE).map(PathBuf::from));
    let candidates = match named {
        Some(path) => vec![path],
        None => default_places(std::env::current_exe().ok().as_deref()),
    };
    match candidates.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => Err(FastPathError::ObjectNotFound(candidates)),
    }
}

fn default_places(program: Option<&Path>) -> Vec<PathBuf> {
    let mut places = Vec::new();
    // target/debug/edgestackd, target/debug/deps/test-0123: the build directory is an ancestor.
    for (depth, directory) in
        program.into_iter().flat_map(|program| program.ancestors().skip(1).take(3)).enumerate()
    {
        if depth == 0 {
            places.push(directory.join(OBJECT_NAME));
        }
        places.push(directory.join("ebpf").join(OBJECT_NAME));
    }
    places.push(Path::new("/usr/lib/edgestack").join(OBJECT_NAME));
    places
}

/// Loads the object's maps, those pinned in `pins` in place of new ones, and its programs.
pub(super) fn load(path: &Path, pins: Option<&Path>, sizes: TableSizes) -> Result<Ebpf, FastPathError> {
    let mut loader = EbpfLoader::new();
    loader
        .map_max_entries(maps::FLOWS, sizes.buckets)
        .map_max_entries(maps::FLOW_TAGS, sizes.buckets)
        .map_max_entries(maps::SESSIONS, sizes.sessions)
        .map_max_entries(maps::SESSION_ADDRESSES, sizes.sessions);
    if let Some(pins) = pins {
        for (name, _) in MAPS {
            loader.map_pin_path(name, pins.join(name));
        }
    }
    let failed =
        |source: aya::EbpfError| FastPathError::Load { path: path.to_owned(), source: Box::new(source) };
    let mut object = loader.load_file(path).map_err(failed)?;
    for (name, _) in MAPS {
        if object.map(name).is_none() {
            return Err(FastPathError::ObjectMismatch { path: path.to_owned(), what: name });
        }
    }
    for name in XDP_PROGRAMS {
        let program: &mut Xdp = program(&mut object, path, name)?;
        program.load().map_err(|source| FastPathError::Program { name, source: Box::new(source) })?;
    }
    for name in TC_PROGRAMS {
        let program: &mut SchedClassifier = program(&mut object, path, name)?;
        program.load().map_err(|source| FastPathError::Program { name, source: Box::new(source) })?;
    }
    Ok(object)
}

fn program<'a, T>(object: &'a mut Ebpf, path: &Path, name: &'static str) -> Result<&'a mut T, FastPathError>
where
    &'a mut T: TryFrom<&'a mut aya::programs::Program>,
{
    object
        .program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| FastPathError::ObjectMismatch { path: path.to_owned(), what: name })
}

/// The sizes of the tables pinned in `pins`, none where one of the maps is not. Refuses maps of another layout.
pub(super) fn pinned_sizes(pins: &Path) -> Result<Option<TableSizes>, FastPathError> {
    let mut sizes = TableSizes { buckets: 0, sessions: 0 };
    let mut complete = true;
    for (name, record) in MAPS {
        let path = pins.join(name);
        if !path.exists() {
            complete = false;
            continue;
        }
        let info = MapInfo::from_pin(&path).map_err(FastPathError::map(name))?;
        let (found, expected) = (info.value_size(), record as u32);
        if found != expected {
            return Err(FastPathError::PinnedMap { path, found, expected });
        }
        match name {
            maps::FLOWS => sizes.buckets = info.max_entries(),
            maps::SESSIONS => sizes.sessions = info.max_entries(),
            _ => {}
        }
    }
    Ok(complete.then_some(sizes))
}

/// Removes the pins of all maps.
pub(super) fn remove_map_pins(pins: &Path) -> Result<(), FastPathError> {
    MAPS.iter().try_for_each(|(name, _)| super::link::remove_pin(&pins.join(name)))
}

/// The descriptor's owner of a map of the object.
pub(super) fn map_data<'a>(object: &'a Ebpf, name: &'static str) -> Option<&'a MapData> {
    match object.map(name)? {
        Map::Array(data) | Map::PerCpuArray(data) | Map::DevMap(data) | Map::XskMap(data) => Some(data),
        _ => None,
    }
}
