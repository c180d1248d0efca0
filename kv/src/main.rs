//! hull-kv: the store of a Hull node, and a store with etcd's v3 API on any Linux machine.
use std::io::Write;
use std::process::ExitCode;

use hull_kv::{
    config::{Asked, Config},
    import::import,
    serve::serve,
};

fn main() -> ExitCode {
    let asked = Config::parse(
        std::env::args_os().skip(1),
        |name| std::env::var(name).ok(),
        |file| std::fs::read_to_string(file),
    );
    let config = match asked {
        Ok(Asked::Serve(config)) => config,
        Ok(Asked::Import(config, file)) => {
            return match import(&config, &file) {
                Ok(imported) => {
                    println!("hull-kv: {imported}");
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    eprintln!("hull-kv: {error}");
                    ExitCode::FAILURE
                }
            };
        }
        Ok(Asked::Print(text)) => {
            // A reader that has gone, as `head` does, needs no more.
            let _ = writeln!(std::io::stdout(), "{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("hull-kv: {error}");
            return ExitCode::from(2);
        }
    };
    for flag in &config.passed_over {
        eprintln!("hull-kv: --{flag}: has no effect in this store");
    }
    match serve(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hull-kv: {error}");
            ExitCode::FAILURE
        }
    }
}
