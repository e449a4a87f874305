//! The API over its real HTTP stack, on a socket of its own, with the dataplane off: needs no root.

mod audit;
mod backup;
mod bodies;
mod cascade;
mod crash;
mod dry_run;
mod events;
mod floating_ip;
mod https;
mod idempotency;
mod labels;
mod list;
mod network;
mod port;
mod project;
mod quota;
mod roles;
mod router;
mod security_group;
mod security_group_rule;
mod service;
mod support;
mod token;
