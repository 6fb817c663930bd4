//! Virtual hosts and a Host header.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| isthmus_tests::entry::host(bytes));
