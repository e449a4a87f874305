//! Real traffic: the tools that people test networks with, their output parsed, and small servers to talk to.

pub mod body;
pub mod http;
pub mod iperf;
pub mod load;
pub mod nginx;
pub mod ping;
pub mod udp;
