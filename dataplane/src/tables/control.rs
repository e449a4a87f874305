//! The one record by which the engine tells tier 0 the time, the trunk and whether to forward at all.

use edgestack_abi::maps::Control;

use super::region::Region;

/// The control record over its region.
#[derive(Debug)]
pub struct ControlRecord {
    control: Region<Control>,
}

impl ControlRecord {
    /// The record in `control`.
    pub fn new(control: Region<Control>) -> Self {
        Self { control }
    }

    /// A copy of the record.
    pub fn get(&self) -> Control {
        self.control.read(0)
    }

    /// Changes fields other than the clock, under the slow-path lock.
    pub fn update(&self, change: impl FnOnce(&mut Control)) {
        let mut control = self.get();
        change(&mut control);
        let now_ticks = self.now_ticks();
        self.control.write(0, Control { now_ticks, ..control });
    }
}

#[expect(unsafe_code, reason = "the clock is read and written by pointer, singly")]
mod clock {
    use super::ControlRecord;

    impl ControlRecord {
        /// The engine's clock.
        #[inline]
        pub fn now_ticks(&self) -> u32 {
            // SAFETY: the pointer is that of the record; the field is an aligned word.
            unsafe { (&raw const (*self.control.pointer(0)).now_ticks).read_volatile() }
        }

        /// Advances the engine's clock.
        pub fn set_now_ticks(&self, now_ticks: u32) {
            // SAFETY: as above.
            unsafe { (&raw mut (*self.control.pointer(0)).now_ticks).write_volatile(now_ticks) }
        }
    }
}
