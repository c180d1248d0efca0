//! `hull-launcher`: runs the containers that are declared in the store and on the command line.

mod alive;
mod cgroup;
mod changes;
mod clock;
mod containers;
mod declared;
mod launcher;
mod logs;
mod monitor;
mod node;
mod output;
mod record;
mod resolver;
mod root;
mod signals;
mod socket;
mod store;
mod sys;
mod volumes;

use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "\
hull-launcher: runs the containers declared under /hull/containers/ in the store and in HULL_RUN

Started by PID 1 without arguments; `monitor NAME` is what it starts for each container. Its environment:
  HULL_RUN        NAME=IMAGE or IMAGE, separated by commas: containers that run whatever the store says
  HULL_KV         the store's socket [default: /run/hull/kv.sock]
  HULL_KV_LISTEN  the address that the store listens on, for containers [default: 127.0.0.1:2379]
  HULL_NODE_NAME  this node's name, under /hull/nodes/
  NOTIFY_SOCKET   where readiness and health are reported, sd_notify(3)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => launcher::main(),
        ["monitor", name] => monitor::main(name),
        ["--help" | "-h"] => {
            // A reader that has gone, as `head` does, needs no more.
            let _ = write!(std::io::stdout(), "{USAGE}");
            ExitCode::SUCCESS
        }
        ["--version" | "-V"] => {
            let _ = writeln!(std::io::stdout(), "hull-launcher {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        words => {
            eprint!("hull-launcher: {words:?} is not understood\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}
