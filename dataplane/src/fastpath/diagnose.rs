//! What the fast path needs of the machine, and which of it is missing.
//!
//! Asked when something failed, and by `edgestackd --check`. Only reads.

use std::fs;
use std::path::Path;

use super::system;

/// Oldest kernel with tcx links, as (major, minor).
const KERNEL_MIN: (u32, u32) = (6, 6);
/// Bits of the capabilities in `/proc/self/status` (include/uapi/linux/capability.h).
const CAPABILITIES: [(&str, u32); 4] =
    [("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];
/// Stands for the last two of [`CAPABILITIES`] where it is held.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;

/// One thing that the fast path needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub subject: &'static str,
    /// It is as it should be.
    pub ok: bool,
    /// What was found and, unless ok, what to do.
    pub message: String,
}

/// Looks at everything that the fast path needs.
pub fn diagnose(pin_root: &Path) -> Vec<Finding> {
    vec![kernel(), capabilities(), jit(), btf(), bpf_file_system(pin_root)]
}

/// The first thing that is missing and may explain a refusal, with a leading separator; empty where nothing is.
pub(super) fn hint() -> String {
    [kernel(), capabilities()]
        .into_iter()
        .find(|finding| !finding.ok)
        .map(|finding| format!(" ({})", finding.message))
        .unwrap_or_default()
}

fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let ok = version(release).is_some_and(|version| version >= KERNEL_MIN);
    let (major, minor) = KERNEL_MIN;
    let message = if ok {
        format!("Linux {release}")
    } else {
        format!("Linux {release} is older than {major}.{minor}, which the fast path needs for tcx links")
    };
    Finding { subject: "kernel", ok, message }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn capabilities() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let missing = missing_capabilities(effective_capabilities(&status));
    let ok = missing.is_empty();
    let message = if ok {
        "all capabilities are held".to_owned()
    } else {
        format!(
            "the process lacks {}: run it as root, or give it AmbientCapabilities= in its systemd unit",
            missing.join(", ")
        )
    };
    Finding { subject: "capabilities", ok, message }
}

fn effective_capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|value| u64::from_str_radix(value.trim(), 16).ok()).unwrap_or(0)
}

fn missing_capabilities(held: u64) -> Vec<&'static str> {
    let has = |bit: u32| held & (1 << bit) != 0;
    CAPABILITIES
        .iter()
        .filter(|(_, bit)| !has(*bit) && (*bit < CAP_PERFMON || !has(CAP_SYS_ADMIN)))
        .map(|(name, _)| *name)
        .collect()
}

fn jit() -> Finding {
    let value = fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").unwrap_or_default();
    let ok = value.trim() != "0";
    let message = if ok {
        "the kernel compiles programs to machine code".to_owned()
    } else {
        "the kernel interprets programs, at a fraction of the speed: sysctl net.core.bpf_jit_enable=1"
            .to_owned()
    };
    Finding { subject: "bpf jit", ok, message }
}

/// The programs use no kernel type, so they load without; bpftool shows them better with it.
fn btf() -> Finding {
    let there = Path::new("/sys/kernel/btf/vmlinux").exists();
    let message = if there { "present" } else { "absent: not needed, but bpftool will show raw maps only" };
    Finding { subject: "kernel btf", ok: true, message: message.to_owned() }
}

fn bpf_file_system(pin_root: &Path) -> Finding {
    // The directory itself may not be there yet; its nearest ancestor tells the file system.
    let existing = pin_root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let mounted = system::is_bpf_file_system(existing).unwrap_or(false);
    let can_mount = pin_root.starts_with(super::BPF_FILE_SYSTEM);
    let message = match (mounted, can_mount) {
        (true, _) => format!("{} is on one", pin_root.display()),
        (false, true) => format!("will be mounted at {}", super::BPF_FILE_SYSTEM),
        (false, false) => {
            format!("{} is not on one: mount -t bpf bpf {}", pin_root.display(), super::BPF_FILE_SYSTEM)
        }
    };
    Finding { subject: "bpf file system", ok: mounted || can_mount, message }
}

#[cfg(test)]
mod tests {
    use super::{effective_capabilities, missing_capabilities, version};

    #[test]
    fn kernel_releases_are_read_as_distributions_write_them() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version("7.0"), Some((7, 0)));
        assert_eq!(version(""), None);
    }

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(effective_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"), 0x1ff_ffff_ffff);
        assert!(missing_capabilities(0x1ff_ffff_ffff).is_empty());
        assert_eq!(missing_capabilities(0), ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_PERFMON", "CAP_BPF"]);
        assert_eq!(missing_capabilities(1 << 12 | 1 << 13 | 1 << 38), ["CAP_BPF"]);
    }
}
