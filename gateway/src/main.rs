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

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
