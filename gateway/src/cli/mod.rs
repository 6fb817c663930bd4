//! The command line: what each command does, and how it is printed.

mod args;
mod diagnostic;
mod out;
