//! A fast path that pins under a name of its own, and is unpinned when the test ends.

use std::path::PathBuf;

use edgestack_dataplane::fastpath::{FastPath, FastPathSettings, TableSizes, pin_directory};

/// An instance of its own.
pub(crate) struct Instance {
    pub(crate) settings: FastPathSettings,
}

impl Instance {
    pub(crate) fn new(name: &str, sizes: TableSizes) -> Self {
        Self {
            settings: FastPathSettings { instance: name.to_owned(), sizes, ..FastPathSettings::default() },
        }
    }

    pub(crate) fn load(&self) -> FastPath {
        FastPath::load(&self.settings).expect("load the programs")
    }

    pub(crate) fn pins(&self) -> PathBuf {
        pin_directory(&self.settings.pin_root, &self.settings.instance)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The trunk goes with its namespace; nothing can be done about a failure here.
        let _ = FastPath::unpin(&self.settings.pin_root, &self.settings.instance);
    }
}
