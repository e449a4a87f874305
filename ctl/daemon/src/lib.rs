//! The EdgeStack daemon: control plane and dataplane of one edge host.
//!
//! `http/` takes requests, `access/` says who may make them, `app/` holds the rules of each object, `store/` keeps
//! what was accepted, `reconcile/` brings it into effect and reports back as `status`. A library so that tests run it
//! within their process; the program is `main.rs`.

pub mod access;
pub mod app;
pub mod backups;
pub mod config;
pub mod daemon;
pub mod events;
pub mod gateway;
pub mod health;
pub mod host;
pub mod http;
pub mod metrics;
pub mod operations;
pub mod plan;
pub mod reconcile;
pub mod services;
pub mod store;

/// Bytes in hexadecimal digits.
fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
