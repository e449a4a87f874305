//! What goes wrong in the lab itself, as opposed to what a test finds out about the product.

use std::io;

/// A step of the lab failed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A program could not be started.
    #[error("cannot run `{command}`: {source}")]
    Start {
        /// The command line.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("`{command}` ended with {status}:\n{output}")]
    Failed {
        /// The command line.
        command: String,
        /// Exit status or signal.
        status: String,
        /// Standard output and error.
        output: String,
    },
    /// Something did not happen in time.
    #[error("waited {seconds} s for {what} in vain{detail}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// What is known about it, starting with a line break, or empty.
        detail: String,
    },
    /// The operating system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program's output is not what it should be.
    #[error("`{what}` printed something unexpected: {output}")]
    Unexpected {
        /// The program.
        what: String,
        /// Its output.
        output: String,
    },
}

impl LabError {
    /// Wraps an error of the operating system: `.map_err(LabError::system("bind"))`.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}
