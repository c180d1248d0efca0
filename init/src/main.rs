//! PID 1, and the child modes that it runs of itself: `/init net`, `/init stage`, ...
mod child;
mod disk;
mod sys;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--print-cmdline-doc") => print_document(),
        Some("net") => child::net(&arguments[1..]),
        Some("stage") => child::stage(&arguments[1..]),
        Some("kexec-load") => child::kexec_load(&arguments[1..]),
        Some("spend-try") => child::spend_try(&arguments[1..]),
        Some("mark-good") => child::mark_good(&arguments[1..]),
        Some("slots") => child::slots(&arguments[1..]),
        _ => ExitCode::FAILURE,
    }
}

fn print_document() -> ExitCode {
    let mut document = String::new();
    let written = hull_init_core::cmdline::write_document(&mut document);
    print!("{document}");
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
