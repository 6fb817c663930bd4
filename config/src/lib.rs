//! What was asked: Istio's networking API, MeshConfig and isthmus.yaml as typed values.
//!
//! Pure: text in, values and problems out. Nothing here knows sockets, clocks or what a rule means at run time.
//! A bad object rejects only itself; every refusal is a [`problem::Problem`] with its place.

pub mod bootstrap;
mod decode;
pub mod istio;
mod kinds;
pub mod kubernetes;
mod labels;
mod locate;
pub mod mesh;
pub mod name;
pub mod object;
pub mod parse;
mod plain;
pub mod problem;
pub mod validate;
pub mod value;

pub use decode::nearest;
