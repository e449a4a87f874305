//! libFuzzer's entry to `drive::pipeline`.
#![no_main]

#[path = "../src/drive.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    drive::pipeline(data);
});
