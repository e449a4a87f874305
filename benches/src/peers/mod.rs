//! Gateways side by side: the same frames through each, in turn, in one run.
//!
//! A [`bed::Bed`] is a source, a gateway and a sink in namespaces; [`traffic::Traffic`] makes and counts the
//! frames with kernel programs of its own.

pub mod bed;
pub mod gateway;
#[path = "../../../ebpf/lab/src/layout.rs"]
pub mod layout;
pub mod nftables;
pub mod report;
pub mod tcp;
pub mod traffic;
pub mod tuning;

/// A step of the bench failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The lab could not be built.
    #[error(transparent)]
    Lab(#[from] edgestack_tests::LabError),
    /// The lab's kernel programs could not be used.
    #[error("{what}: {source}")]
    Kernel {
        /// What was tried.
        what: String,
        /// What aya says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something was not as it must be for the figures to mean anything.
    #[error("{0}")]
    Invalid(String),
}

impl BenchError {
    /// Wraps an error of aya: `.map_err(BenchError::kernel("load"))`.
    pub fn kernel<E: std::error::Error + Send + Sync + 'static>(
        what: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::Kernel { what, source: Box::new(source) }
    }
}
