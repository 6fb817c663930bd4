//! A file of configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| isthmus_tests::entry::parse(bytes));
