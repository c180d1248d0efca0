//! hullctl: the command people type, on a node or from outside.

mod args;
mod console;
mod failure;
mod format;
mod launcher;
mod limits;
mod pid1;
mod place;
mod progress;
mod screen;
mod status;
mod store;
mod verbs;

use args::Cli;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // Help and version are no errors; everything else is a misuse.
            return ExitCode::from(if error.use_stderr() { failure::EXIT_USAGE } else { 0 });
        }
    };
    let mut screen = screen::Screen::of(&cli);
    match verbs::perform(&cli, &mut screen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            screen.fail(&failure);
            ExitCode::from(failure::EXIT_REFUSED)
        }
    }
}
