//! The first bytes of a connection where a PROXY header is expected.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| isthmus_tests::entry::sniff(bytes));
