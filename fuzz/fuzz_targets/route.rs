//! Rules and a request's target.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| isthmus_tests::entry::route(bytes));
