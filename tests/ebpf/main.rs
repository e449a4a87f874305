//! The kernel programs themselves: run on packets by the kernel (`BPF_PROG_TEST_RUN`), and attached to real interfaces
//! in network namespaces. Needs root and the programs of `make ebpf`.
#![expect(unsafe_code, reason = "an AF_XDP socket to stand for the engine's is opened by hand")]

mod attach;
mod hit;
mod instance;
mod packet;
mod punt;
mod repair;
mod rig;
mod site;
mod traffic;
mod tunnel;
