//! libFuzzer's entry to `drive::dhcp4`.
#![no_main]

#[path = "../src/drive.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drive::dhcp4(data));
