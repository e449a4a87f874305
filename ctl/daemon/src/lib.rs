//! The EdgeStack daemon: control plane and dataplane of one edge host.
//!
//! `http/` takes requests, `access/` says who may make them, `app/` holds the rules of each object, `store/` keeps
//! what was accepted, `reconcile/` brings it into effect and reports back as `status`. A library so that tests run it
//! within their process; the program is `main.rs`.

pub mod access;
pub mod app;
pub mod config;
pub mod daemon;
pub mod gateway;
pub mod http;
pub mod metrics;
pub mod reconcile;
pub mod store;
