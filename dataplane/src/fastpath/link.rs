//! Links: programs attached to interfaces, kept by their pins while no daemon runs.
//!
//! A link that is already there for the same interface gets the new program between two packets, so that neither
//! a restart nor an upgrade loses one. A link of an interface that is gone, or of another, is removed first.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::error::FastPathError;
use super::system;

/// Where a program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// XDP, in the driver.
    Xdp,
    /// TC ingress, by tcx.
    Tc,
}

/// What [`attach`] found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// Nothing was there.
    New,
    /// The program of the pinned link was replaced, between two packets.
    Replaced,
    /// A pinned link of another, or of a vanished, interface was removed first.
    Moved,
}

/// `BPF_XDP` and `BPF_TCX_INGRESS` of `enum bpf_attach_type`.
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
/// `BPF_LINK_TYPE_XDP` and `BPF_LINK_TYPE_TCX` of `enum bpf_link_type`.
const BPF_LINK_TYPE_XDP: u32 = 6;
const BPF_LINK_TYPE_TCX: u32 = 11;
/// `XDP_FLAGS_DRV_MODE`: in the driver or not at all. Generic XDP would be slower than TC.
const XDP_DRIVER_MODE: u32 = 1 << 2;

impl Hook {
    /// How it is called in pins and messages.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tc => "tc",
        }
    }

    const fn link_kind(self) -> u32 {
        match self {
            Self::Xdp => BPF_LINK_TYPE_XDP,
            Self::Tc => BPF_LINK_TYPE_TCX,
        }
    }
}

/// Attaches `program` to the interface, through the link pinned as `pin` where there is one. The link lives as long as
/// its pin, or, without a pin, as long as the descriptor returned.
pub(super) fn attach(
    hook: Hook,
    program: BorrowedFd<'_>,
    interface_index: u32,
    pin: Option<&Path>,
) -> Result<(Attached, OwnedFd), FastPathError> {
    let pinned = match pin {
        Some(path) => system::open_pin(path).map_err(FastPathError::system("open the pinned link", path))?,
        None => None,
    };
    let mut attached = Attached::New;
    if let (Some(link), Some(path)) = (pinned, pin) {
        if is_of(&link, hook, interface_index) {
            system::link_update(link.as_fd(), program)
                .map_err(FastPathError::system("replace the program of the link", path))?;
            return Ok((Attached::Replaced, link));
        }
        detach(&link);
        remove_pin(path)?;
        attached = Attached::Moved;
    }
    let link = create(hook, program, interface_index)
        .map_err(|source| FastPathError::attach(hook, interface_index, source))?;
    if let Some(path) = pin {
        system::pin(link.as_fd(), path).map_err(FastPathError::system("pin the link", path))?;
    }
    Ok((attached, link))
}

fn create(hook: Hook, program: BorrowedFd<'_>, interface_index: u32) -> io::Result<OwnedFd> {
    match hook {
        Hook::Xdp => system::link_create(program, interface_index, BPF_XDP, XDP_DRIVER_MODE),
        Hook::Tc => system::link_create(program, interface_index, BPF_TCX_INGRESS, 0),
    }
}

fn is_of(link: &OwnedFd, hook: Hook, interface_index: u32) -> bool {
    system::link_info(link.as_fd())
        .is_ok_and(|info| info.kind == hook.link_kind() && info.interface_index == interface_index)
}

/// Interface of the link pinned as `path`: none when nothing is pinned there, 0 when the interface is gone.
pub(super) fn pinned_interface(path: &Path) -> Result<Option<u32>, FastPathError> {
    let Some(link) = system::open_pin(path).map_err(FastPathError::system("open the pinned link", path))?
    else {
        return Ok(None);
    };
    let info = system::link_info(link.as_fd()).map_err(FastPathError::system("read the link", path))?;
    Ok(Some(info.interface_index))
}

/// Detaches the link pinned as `path` and removes the pin. Nothing pinned is no error.
pub(super) fn remove(path: &Path) -> Result<(), FastPathError> {
    if let Some(link) = system::open_pin(path).map_err(FastPathError::system("open the pinned link", path))? {
        detach(&link);
    }
    remove_pin(path)
}

/// Detaches now: the kernel lets go of a link that nobody holds only later, and until then the interface has no room for
/// another.
pub(super) fn detach(link: &OwnedFd) {
    // A link whose interface is gone is detached already, which is all that can go wrong.
    let _ = system::link_detach(link.as_fd());
}

/// Removes a pin, and with it whatever only the pin kept. Nothing pinned is no error.
pub(super) fn remove_pin(path: &Path) -> Result<(), FastPathError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FastPathError::system("remove the pin", path)(error))
        }
        _ => Ok(()),
    }
}
