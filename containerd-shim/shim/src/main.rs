//! `containerd-shim-hull-v2`: containerd's shim (runtime type `io.containerd.hull.v2`) on the library `hull-runtime`.
//!
//! ```text
//! containerd ── start ──> address
//!     │                      ┌──────── shim: one thread, one loop (serve) ────────┐
//!     ├── ttrpc (wire) ────> │ service ── perform ──> finish     reap ── life     │
//!     └── events <────────── │ publish               stdio, console, oom, stats   │
//!                            └───────────────────────────────────────────────────┘
//! ```
//! The shim is small because it does little: work is done by a copy of it that ends (`perform`).

mod arguments;
mod console;
mod delete;
mod finish;
mod info;
mod input;
mod life;
mod log;
mod messages;
mod oom;
mod perform;
mod publish;
mod refusal;
mod rootfs;
mod serve;
mod service;
mod shim;
mod start;
mod stats;
mod stdio;
mod sys;
mod wire;

use std::process::ExitCode;

use arguments::Verb;

fn main() -> ExitCode {
    let done = arguments::read(std::env::args().skip(1)).and_then(|arguments| match arguments.verb {
        Verb::Start => start::start(&arguments),
        Verb::Delete => delete::delete(&arguments),
        Verb::Serve => serve::serve(arguments),
        Verb::Version => info::version(),
        Verb::Info => info::info(),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("containerd-shim-hull-v2: {failure}");
            ExitCode::FAILURE
        }
    }
}
