//! libFuzzer's entry to `drive::tunnel`.
#![no_main]

#[path = "../src/drive.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drive::tunnel(data));
