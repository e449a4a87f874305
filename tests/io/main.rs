//! Tests of the engine's sockets and of the runtime on real interfaces, in network namespaces.
//!
//! They need root and the kernel programs of `make ebpf`; `make test` runs them. No daemon takes part.

mod patch;
mod runtime;
mod site;
mod sockets;
