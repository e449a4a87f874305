//! Internet checksum arithmetic (RFC 1071, RFC 1624), used by the engine and the kernel programs alike.
//!
//! All values are sums of 16-bit words *in the byte order of the packet*, loaded with native loads: the
//! ones' complement sum commutes with a byte swap, so nothing is swapped on the way (RFC 1071, section 2 (B)).

/// Folds a 32-bit ones' complement sum into 16 bits.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The sum of the two halves of a 32-bit word, not folded.
#[inline(always)]
pub const fn words(value: u32) -> u32 {
    (value & 0xffff) + (value >> 16)
}

/// The change of a sum when the 32-bit field `old` becomes `new`, not folded (RFC 1624, equation 3: `~m + m'`).
#[inline(always)]
pub const fn difference(old: u32, new: u32) -> u32 {
    words(!old) + words(new)
}

/// A header checksum after its data changed by `delta`: `HC' = ~(~HC + delta)` (RFC 1624, equation 3).
#[inline(always)]
pub const fn update(checksum: u16, delta: u16) -> u16 {
    !fold((!checksum as u32) + delta as u32)
}

/// As [`update`], for checksums where zero is not sent: its other form, all ones, says the same sum.
///
/// In UDP zero means that there is none (RFC 768). In ICMP, which has no pseudo header, a message of zeros only is right
/// with all ones and wrong with zero, and every other message is right with either.
#[inline(always)]
pub const fn update_nonzero(checksum: u16, delta: u16) -> u16 {
    match update(checksum, delta) {
        0 => 0xffff,
        updated => updated,
    }
}
