//! The bpf(2) calls that the loader makes itself, because what it pins must outlive it: links.
//!
//! Never called on the packet path. Layouts are those of `union bpf_attr` (include/uapi/linux/bpf.h), of which the
//! kernel takes the leading part and zeroes the rest.
#![expect(unsafe_code, reason = "bpf(2) and mount(2) have no safe wrapper")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const BPF_MAP_DELETE_ELEM: u32 = 3;
const BPF_OBJ_PIN: u32 = 6;
const BPF_OBJ_GET: u32 = 7;
const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
const BPF_LINK_CREATE: u32 = 28;
const BPF_LINK_UPDATE: u32 = 29;
const BPF_LINK_DETACH: u32 = 34;

/// `BPF_FS_MAGIC`: tells a BPF file system from others.
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

/// What the kernel tells of a link: the leading part of `struct bpf_link_info`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct LinkInfo {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) program: u32,
    padding: u32,
    /// XDP and tcx links; 0 once the interface is gone.
    pub(super) interface_index: u32,
    pub(super) attach_type: u32,
}

#[repr(C)]
struct ObjectAttributes {
    path: u64,
    descriptor: u32,
    flags: u32,
}

#[repr(C)]
struct ElementAttributes {
    map: u64,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct InfoAttributes {
    descriptor: u32,
    length: u32,
    info: u64,
}

#[repr(C)]
struct LinkCreateAttributes {
    program: u32,
    interface_index: u32,
    attach_type: u32,
    flags: u32,
    relative: u64,
    revision: u64,
}

#[repr(C)]
struct LinkUpdateAttributes {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// Pins the object behind `descriptor` as `path`.
pub(super) fn pin(descriptor: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let attributes =
        ObjectAttributes { path: path.as_ptr() as u64, descriptor: descriptor.as_raw_fd() as u32, flags: 0 };
    bpf(BPF_OBJ_PIN, &attributes).map(drop)
}

/// Opens what is pinned as `path`; none when nothing is.
pub(super) fn open_pin(path: &Path) -> io::Result<Option<OwnedFd>> {
    let path = c_path(path)?;
    let attributes = ObjectAttributes { path: path.as_ptr() as u64, descriptor: 0, flags: 0 };
    match bpf(BPF_OBJ_GET, &attributes) {
        Ok(descriptor) => Ok(Some(owned(descriptor))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Attaches a program to an interface for as long as the link lives.
pub(super) fn link_create(
    program: BorrowedFd<'_>,
    interface_index: u32,
    attach_type: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let attributes = LinkCreateAttributes {
        program: program.as_raw_fd() as u32,
        interface_index,
        attach_type,
        flags,
        relative: 0,
        revision: 0,
    };
    bpf(BPF_LINK_CREATE, &attributes).map(owned)
}

/// Replaces the program of a link, between two packets.
pub(super) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = LinkUpdateAttributes {
        link: link.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        flags: 0,
        old_program: 0,
    };
    bpf(BPF_LINK_UPDATE, &attributes).map(drop)
}

/// Detaches a link from its interface at once; removing its last holder would do so some time later.
pub(super) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(BPF_LINK_DETACH, &(link.as_raw_fd() as u32)).map(drop)
}

/// What is known of a link.
pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    let attributes = InfoAttributes {
        descriptor: link.as_raw_fd() as u32,
        length: size_of::<LinkInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes)?;
    Ok(info)
}

/// Deletes the element of a map with 32-bit keys.
pub(super) fn delete_element(map: BorrowedFd<'_>, key: u32) -> io::Result<()> {
    let attributes =
        ElementAttributes { map: map.as_raw_fd() as u64, key: (&raw const key) as u64, value: 0, flags: 0 };
    bpf(BPF_MAP_DELETE_ELEM, &attributes).map(drop)
}

/// Whether `path` is on a BPF file system.
pub(super) fn is_bpf_file_system(path: &Path) -> io::Result<bool> {
    let path = c_path(path)?;
    // SAFETY: all zero is a valid record for the kernel to fill.
    let mut status: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is terminated, and the record complete; both outlive the call.
    if unsafe { libc::statfs(path.as_ptr(), &raw mut status) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(status.f_type as u32 == BPF_FS_MAGIC)
}

/// Mounts a BPF file system at `path`.
pub(super) fn mount_bpf_file_system(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: all strings are terminated and outlive the call.
    let result = unsafe {
        libc::mount(c"bpf".as_ptr(), path.as_ptr(), c"bpf".as_ptr(), flags, c"mode=0700".as_ptr().cast())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

fn bpf<T>(command: u32, attributes: &T) -> io::Result<i32> {
    // SAFETY: the attributes are a complete record of the length told, and what they point to outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn owned(descriptor: i32) -> OwnedFd {
    // SAFETY: the kernel just made the descriptor for us, with close-on-exec set.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
