//! What can go wrong with the fast path, said so that the reader knows what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::diagnose;
use super::link::Hook;

/// Why the fast path could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum FastPathError {
    /// No object file was found.
    #[error("the kernel programs were not found at {}; build them with `make ebpf`, or name their place in EDGESTACK_EBPF_OBJECT", list(.0))]
    ObjectNotFound(Vec<PathBuf>),
    /// The object does not have a program or map that it should.
    #[error("{} has no {what}; it is of another version than this program, build it again with `make ebpf`", .path.display())]
    ObjectMismatch {
        /// The object file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// The kernel refused the maps or programs.
    #[error("the kernel refused the programs of {}: {source}{}", .path.display(), diagnose::hint())]
    Load {
        /// The object file.
        path: PathBuf,
        /// What the kernel said.
        source: Box<aya::EbpfError>,
    },
    /// One program was refused.
    #[error("the kernel refused the program {name}: {source}{}", diagnose::hint())]
    Program {
        /// Name of the program.
        name: &'static str,
        /// What the verifier said.
        source: Box<aya::programs::ProgramError>,
    },
    /// A map could not be read or written.
    #[error("map {name}: {source}")]
    Map {
        /// Name of the map.
        name: &'static str,
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A pinned map has another layout.
    #[error("the map pinned as {} has {found} bytes per record and not {expected}; remove it with `edgestackd --unpin`", .path.display())]
    PinnedMap {
        /// The pin.
        path: PathBuf,
        /// Size of a record there.
        found: u32,
        /// Size of a record of this version.
        expected: u32,
    },
    /// The pin directory is on no BPF file system.
    #[error("{} is not on a BPF file system; mount one with `mount -t bpf bpf /sys/fs/bpf`, or let pin_root name a directory on one", .0.display())]
    NotBpfFileSystem(PathBuf),
    /// The name of the instance cannot be a directory's.
    #[error("instance `{0}` is no name: use 1 to 64 letters, digits, dashes and underscores")]
    Instance(String),
    /// The number of buckets cannot be.
    #[error("buckets = {0} is not a power of two between 1 and 16777216")]
    Buckets(u32),
    /// A program could not be attached.
    #[error("attach {} to interface {interface_index}: {source}; {hint}", .hook.label())]
    Attach {
        /// Where.
        hook: Hook,
        /// To what.
        interface_index: u32,
        /// What the kernel said.
        source: io::Error,
        /// What it means.
        hint: String,
    },
    /// The interface takes VLAN tags off where XDP would have to see them.
    #[error(
        "interface {0} takes VLAN tags off received frames, and its driver does not let that be turned off (`ethtool -K NAME rx-vlan-offload off`)"
    )]
    VlanTags(u32),
    /// A system call failed.
    #[error("{action} {object}: {source}{}", hint_for(.source))]
    System {
        /// What was to be done.
        action: &'static str,
        /// With what.
        object: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl FastPathError {
    /// Wraps the error of a system call that worked on `path`.
    pub(super) fn system(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, object: path.display().to_string(), source }
    }

    /// Wraps the error of a system call that worked on an interface.
    pub(super) fn interface(action: &'static str, name: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, object: name.to_owned(), source }
    }

    pub(super) fn map<E>(name: &'static str) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |source| Self::Map { name, source: Box::new(source) }
    }

    pub(super) fn attach(hook: Hook, interface_index: u32, source: io::Error) -> Self {
        let hint = match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => diagnose::hint().trim_start().to_owned(),
            Some(libc::ENODEV) => "the interface is gone".to_owned(),
            Some(libc::EBUSY | libc::EEXIST) => {
                "another XDP program is attached there: detach it (`ip link set dev NAME xdp off`), or use attach = \"tc\"".to_owned()
            }
            Some(libc::EOPNOTSUPP) => {
                "the interface's driver has no XDP: use attach = \"tc\"".to_owned()
            }
            Some(libc::ERANGE) => {
                "the MTU of the interface or of its peer is too large for XDP: lower it to 3498, or use attach = \"tc\"".to_owned()
            }
            Some(libc::EINVAL) if hook == Hook::Tc => {
                "tcx needs Linux 6.6".to_owned()
            }
            _ => "the driver may lack what XDP needs: use attach = \"tc\"".to_owned(),
        };
        Self::Attach { hook, interface_index, source, hint }
    }
}

fn hint_for(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => diagnose::hint(),
        _ => String::new(),
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
