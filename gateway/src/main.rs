//! Isthmus: the gateway of a federation of clusters, configured by Istio's networking API.

mod admin;
mod cli;
mod listener;
mod observe;
mod proxy;
mod upstream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {}
