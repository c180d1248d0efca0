//! `hull-oci`: the OCI runtime command line, for whoever calls `runc` or `crun`.
//!
//! A verb is a function in one of the files of its kind; what it does is in the crate `hull-runtime`.

mod control;
mod exec;
mod help;
mod log;
mod look;
mod make;
mod options;
mod update;

use std::process::ExitCode;

use hull_runtime::Failure;

use options::Global;

fn main() -> ExitCode {
    let mut parser = lexopt::Parser::from_env();
    let mut global = Global::new();
    let verb = match options::global(&mut parser, &mut global) {
        Ok(Some(verb)) => verb,
        Ok(None) => {
            crate::log::say_as_is!("{}", help::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(failure) => {
            match global.log {
                Some(_) => log::error(&global, &failure.0),
                None => eprintln!("hull-oci: {failure}"),
            }
            eprintln!("hull-oci: `hull-oci --help` lists the verbs and options");
            return ExitCode::FAILURE;
        }
    };
    log::debug(
        &global,
        &format!("hull-oci {} {verb}: containers are in {}", env!("CARGO_PKG_VERSION"), global.root.display()),
    );
    match run(&global, &verb, &mut parser) {
        Ok(code) => ExitCode::from(code),
        Err(Stop { failure, code }) => {
            log::error(&global, &failure.0);
            ExitCode::from(code)
        }
    }
}

/// What ends a verb early.
struct Stop {
    failure: Failure,
    /// Exit status.
    code: u8,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop { failure, code: 1 }
    }
}

fn run(global: &Global, verb: &str, parser: &mut lexopt::Parser) -> Result<u8, Stop> {
    let done = |result: Result<(), Failure>| result.map(|()| 0).map_err(Stop::from);
    match verb {
        "create" => done(make::create(global, parser)),
        "run" => Ok(make::run(global, parser)?),
        // runc's: no program ends with it that is not asked to.
        "exec" => exec::exec(global, parser).map_err(|failure| Stop { failure, code: 255 }),
        "start" => done(control::start(global, parser)),
        "kill" => done(control::kill(global, parser)),
        "delete" => done(control::delete(global, parser)),
        "pause" => done(control::pause(global, parser)),
        "resume" => done(control::resume(global, parser)),
        "update" => done(update::update(global, parser)),
        "state" => done(look::state(global, parser)),
        "list" => done(look::list(global, parser)),
        "ps" => done(look::ps(global, parser)),
        "events" => done(look::events(global, parser)),
        "spec" => done(help::spec(parser)),
        "features" => done(help::features(parser)),
        "plan" => done(make::plan(global, parser)),
        "version" => done(help::version()),
        "help" => {
            crate::log::say_as_is!("{}", help::USAGE);
            Ok(0)
        }
        "checkpoint" | "restore" => {
            let why = "out of scope: this runtime does not freeze containers to disk and thaw them";
            Err(Failure(format!("{verb}: {why}")).into())
        }
        other => Err(Failure(format!("{other:?} is no verb; `hull-oci --help` lists them")).into()),
    }
}
