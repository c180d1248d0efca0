//! PID 1, and the child modes that it runs of itself: `/init net`, `/init stage`, ...
#![cfg_attr(not(test), no_main)] // `main` is in sys/entry.rs: see there why

mod banner;
mod boot;
mod cgroups;
mod child;
mod children;
mod console;
mod disk;
mod ending;
mod files;
mod jobs;
mod log;
mod mounts;
mod node;
mod pid1;
mod power;
mod requests;
mod spawn;
mod sys;
mod table;
mod trial;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: sys::alloc::Counting = sys::alloc::Counting;

/// What this process is: PID 1, or one of its child modes by the first argument.
fn run() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if std::process::id() == 1 {
        return pid_1();
    }
    let rest = arguments.get(1..).unwrap_or_default();
    match arguments.first().map(String::as_str) {
        Some("--print-cmdline-doc") => print_document(),
        Some("net") => child::net(rest),
        Some("stage") => child::stage(rest),
        Some("kexec-load") => child::kexec_load(rest),
        Some("spend-try") => child::spend_try(rest),
        Some("mark-good") => child::mark_good(rest),
        Some("slots") => child::slots(rest),
        Some("resize-state") => resize_state(),
        _ => {
            eprintln!("hull-init is PID 1 of a Hull node and does nothing as any other process.");
            eprintln!("`hull-init --print-cmdline-doc` prints docs/cmdline.md; on a node, use `hullctl`.");
            ExitCode::FAILURE
        }
    }
}

/// Never returns: if PID 1 ended, the kernel would panic and the machine reset.
fn pid_1() -> ExitCode {
    log::panic_into_the_kernel_log();
    sys::alloc::prepare();
    let mut pid1 = match pid1::Pid1::new() {
        Ok(pid1) => Box::new(pid1),
        Err(error) => panic!("make the event loop: {error}"),
    };
    boot::boot(&mut pid1);
    pid1.run()
}

/// Grows the file system of /var to its partition, online.
fn resize_state() -> ExitCode {
    match disk::resize_state("/var") {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn print_document() -> ExitCode {
    let mut document = String::new();
    let written = hull_init_core::cmdline::write_document(&mut document);
    let shown = std::io::Write::write_all(&mut std::io::stdout(), document.as_bytes());
    if written.is_ok() && shown.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
