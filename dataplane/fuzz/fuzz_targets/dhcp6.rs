//! libFuzzer's entry to `drive::dhcp6`.
#![no_main]

#[path = "../src/drive.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drive::dhcp6(data));
