//! What the tests of the whole binary share: a gateway on a loopback address of its own, backends that follow a script and keep the bytes they
//! got, a client that sends exactly the bytes it is given, and waiting for an event with a deadline.
//!
//! Assumes Linux (every address of 127.0.0.0/8 can be bound) and that `isthmus` was built into the target directory of the running test, as
//! `make test` does. Helpers stop the test with a message where something that the test takes for granted is missing.

pub mod backend;
pub mod binary;
pub mod cases;
pub mod drill;
pub mod entry;
pub mod gateway;
pub mod http2;
pub mod kube;
pub mod namespace;
pub mod project;
pub mod wait;
pub mod wire;
pub mod world;
