//! libFuzzer's entry to `drive::pcap`.
#![no_main]

#[path = "../src/drive.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drive::pcap(data));
