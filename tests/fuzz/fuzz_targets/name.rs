#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lab_fuzz::check("name", input));
