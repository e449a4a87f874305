//! The MM3 objects of EdgeStack: their fields, their names on the wire and their validation.
//!
//! One noun, one file: `network.rs` holds the network's fields, how they are read from a request and what can be
//! checked without looking at another object. What needs other objects (references, free addresses) belongs to
//! `app/<noun>.rs` of the daemon. This crate never does I/O; the daemon, the client and `edgectl` share it.
//!
//! A request is read by [`meta::read_draft`], which reports *every* problem of a body at once; answers are plain
//! serde types ([`meta::Object`]).

pub mod address;
pub mod address_group;
pub mod any;
pub mod docs;
pub mod error;
pub mod event;
pub mod examples;
pub mod flavor;
pub mod floating_ip;
pub mod health_check;
pub mod icmp;
pub mod keypair;
pub mod labels;
pub mod limits;
pub mod load_balancer;
pub mod meta;
pub mod metadata;
pub mod nat;
pub mod network;
pub mod node;
pub mod operation;
pub mod plan;
pub mod plug;
pub mod port;
pub mod project;
pub mod reader;
pub mod role;
pub mod role_binding;
pub mod router;
pub mod schema;
pub mod security_group;
pub mod security_group_rule;
mod subnet;
pub mod suggest;
pub mod token;
pub mod value;

pub use address_group::{AddressGroup, AddressGroupSpec};
pub use any::read_any;
pub use error::{FieldError, Problem};
pub use flavor::{Flavor, FlavorSpec};
pub use floating_ip::{FloatingIp, FloatingIpSpec};
pub use keypair::{Keypair, KeypairSpec};
pub use labels::{Labels, Selector};
pub use limits::Limits;
pub use load_balancer::{LoadBalancer, LoadBalancerSpec};
pub use meta::{Condition, ConditionStatus, Draft, Kind, Object, Phase, Spec, Status, read_draft};
pub use network::{Network, NetworkSpec};
pub use node::{Node, NodeSpec};
pub use plan::{Plan, Reference};
pub use port::{Port, PortSpec};
pub use project::{Project, ProjectSpec};
pub use role::Role;
pub use role_binding::{RoleBinding, RoleBindingSpec};
pub use router::{Router, RouterSpec};
pub use security_group::{SecurityGroup, SecurityGroupSpec};
pub use security_group_rule::{SecurityGroupRule, SecurityGroupRuleSpec};
pub use token::{Token, TokenSpec};
