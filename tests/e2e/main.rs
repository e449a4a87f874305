//! End-to-end tests: the real daemon, real kernel programs and real traffic in network namespaces.
//!
//! They need root and `make ebpf`; `make test` runs them. Each builds a site of its own and removes it.

mod api;
mod bad_input;
mod dhcp;
mod fast_path;
mod firewall;
mod interfaces;
mod ipv6;
mod ipv6_services;
mod isolation;
mod lab;
mod load_balancer;
mod moved_router;
mod overlay;
mod path_mtu;
mod physical;
mod plug;
mod restart;
mod router_legs;
mod services;
mod vlan;
mod workload_services;
