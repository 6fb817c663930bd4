//! Isthmus: the gateway of a federation of clusters, configured by Istio's networking API.

mod admin;
mod app;
mod asked;
mod cli;
mod listener;
mod log;
mod observe;
mod progress;
mod proxy;
mod reconcile;
mod sources;
#[cfg(test)]
mod stand_in;
mod upstream;
mod ward;
mod warming;

/// What it gives back to the system, and when, stands in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
