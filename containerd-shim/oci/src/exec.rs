//! `exec`: another program in a running container.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use hull_oci_core::oci::config::{Process, Spec, User};
use hull_oci_core::oci::plan::{self, Leave, Terminal};
use hull_oci_core::oci::read;
use hull_runtime::Failure;
use hull_runtime::cgroup::Hierarchies;
use hull_runtime::join::{self, Request};
use hull_runtime::state::Status;
use hull_runtime::sys::{descriptors, signals};
use hull_runtime::{create, exchange, facts, guard};
use lexopt::{Arg, Parser};

use crate::log;
use crate::make::{wait, write_pid};
use crate::options::{Flag, Global, flag, folder, next, number, path, string, text, unexpected};

#[derive(Default)]
struct Options {
    id: Option<String>,
    words: Vec<String>,
    process: Option<PathBuf>,
    console: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    cwd: Option<String>,
    env: Vec<String>,
    terminal: Option<Flag>,
    user: Option<String>,
    groups: Vec<u32>,
    capabilities: Vec<String>,
    apparmor: Option<String>,
    label: Option<String>,
    no_new_privileges: Option<Flag>,
    detached: Option<Flag>,
    paused: Option<Flag>,
    preserve: u32,
    cgroup: Vec<String>,
}

fn options(parser: &mut Parser) -> Result<Options, Failure> {
    let mut options = Options::default();
    while let Some(argument) = next(parser)? {
        match argument {
            Arg::Long("process") | Arg::Short('p') => options.process = Some(path(parser)?),
            Arg::Long("console-socket") => {
                options.console = Some(path(parser)?).filter(|path| !path.as_os_str().is_empty())
            }
            Arg::Long("pid-file") => options.pid_file = Some(path(parser)?),
            Arg::Long("cwd") => options.cwd = Some(text(parser)?),
            Arg::Long("env") | Arg::Short('e') => options.env.push(text(parser)?),
            Arg::Long("tty") | Arg::Short('t') => options.terminal = Some(flag(parser)),
            Arg::Long("user") | Arg::Short('u') => options.user = Some(text(parser)?),
            Arg::Long("additional-gids") | Arg::Short('g') => options.groups.push(number(parser, "--additional-gids")?),
            Arg::Long("cap") | Arg::Short('c') => options.capabilities.push(text(parser)?),
            Arg::Long("apparmor") => options.apparmor = Some(text(parser)?),
            Arg::Long("process-label") => options.label = Some(text(parser)?),
            Arg::Long("no-new-privs") => options.no_new_privileges = Some(flag(parser)),
            Arg::Long("detach") | Arg::Short('d') => options.detached = Some(flag(parser)),
            Arg::Long("ignore-paused") => options.paused = Some(flag(parser)),
            Arg::Long("preserve-fds") => options.preserve = number(parser, "--preserve-fds")?,
            Arg::Long("cgroup") => options.cgroup.push(text(parser)?),
            Arg::Value(value) if options.id.is_none() => options.id = Some(string(value)?),
            Arg::Value(value) => {
                // The program's own options are its own.
                options.words.push(string(value)?);
                for word in parser.raw_args().map_err(|error| Failure(error.to_string()))? {
                    options.words.push(string(word)?);
                }
                break;
            }
            other => return Err(unexpected(&other)),
        }
    }
    descriptors::close_from(options.preserve.saturating_add(3));
    Ok(options)
}

/// Executes a program in a container, and in the foreground waits for its end.
pub(crate) fn exec(global: &Global, parser: &mut Parser) -> Result<u8, Failure> {
    guard::protect()?;
    let options = options(parser)?;
    let folder = folder(global, options.id.clone())?;
    let record = folder.record()?;
    match record.status(&folder) {
        Status::Stopped | Status::Creating => {
            return Err(Failure("cannot exec in a stopped container: it is not running".to_owned()));
        }
        Status::Paused if options.paused != Some(Flag::Set) => {
            return Err(Failure("cannot exec in a paused container; resume it, or give --ignore-paused".to_owned()));
        }
        _ => {}
    }
    let spec = folder.spec()?;
    let process = process(&options, &spec)?;
    let facts = facts::facts(&Hierarchies::find(), Leave::Pivot);
    let (identity, program) = plan::joining(&spec, &process, &facts)?;
    log::missed(global, &identity.missed);
    let terminal = match process.terminal {
        false => Terminal::None,
        true => Terminal::Wanted(process.console_size.map(|size| (size.height, size.width))),
    };
    let detached = options.detached == Some(Flag::Set);
    let (mine, console) = console(&options, terminal, detached)?;
    let signals = match detached {
        true => None,
        false => Some(signals::all().map_err(|error| Failure(format!("block signals: {error}")))?),
    };
    let child = join::join(Request {
        record: &record,
        spec: &spec,
        identity: &identity,
        program: &program,
        terminal,
        console,
        preserve: options.preserve,
        cgroup: options.cgroup.clone(),
        processors: join::processors(&process)?,
    })
    .map_err(|failure| Failure(format!("exec failed: {failure}")))?;
    if let Err(failure) = write_pid(options.pid_file.as_deref(), child.pid.as_raw_nonzero().get()) {
        let _ = signals::send(std::os::fd::AsFd::as_fd(&child.pidfd), 9);
        return Err(failure);
    }
    match signals {
        None => Ok(0),
        Some(signals) => wait(&child.pidfd, &signals, mine),
    }
}

/// Where the terminal goes: to the caller's socket, or here.
fn console(
    options: &Options,
    terminal: Terminal,
    detached: bool,
) -> Result<(Option<OwnedFd>, Option<OwnedFd>), Failure> {
    match (terminal, &options.console) {
        (Terminal::None, None) => Ok((None, None)),
        (Terminal::None, Some(_)) => {
            Err(Failure("--console-socket: the process has no terminal; give --tty or leave it out".to_owned()))
        }
        (_, Some(path)) => Ok((None, Some(create::connect(&path.to_string_lossy())?))),
        (_, None) if detached => Err(Failure(
            "cannot allocate tty if hull-oci will detach without setting console socket; give --console-socket"
                .to_owned(),
        )),
        (_, None) => exchange::pair()
            .map(|(mine, theirs)| (Some(mine), Some(theirs)))
            .map_err(|error| Failure(error.to_string())),
    }
}

/// The process: from a file, or the container's own with changes.
fn process(options: &Options, spec: &Spec) -> Result<Process, Failure> {
    if let Some(file) = &options.process {
        let bytes = fs::read(file).map_err(|error| Failure(format!("--process: read {}: {error}", file.display())))?;
        return read::json(&bytes).map_err(|refused| Failure(format!("--process {}: {refused}", file.display())));
    }
    if options.words.is_empty() {
        return Err(Failure("process args cannot be empty: the program to execute is missing".to_owned()));
    }
    let mut process = spec.process.clone().unwrap_or_default();
    process.args = options.words.clone();
    process.terminal = options.terminal == Some(Flag::Set);
    process.console_size = None;
    options.env.iter().for_each(|variable| replace(&mut process.env, variable));
    if let Some(cwd) = &options.cwd {
        process.cwd = cwd.clone();
    }
    if let Some(user) = &options.user {
        let umask = process.user.umask;
        process.user = User { umask, ..read_user(user)? };
    }
    process.user.additional_gids.extend(&options.groups);
    if let Some(profile) = &options.apparmor {
        process.apparmor_profile = Some(profile.clone());
    }
    if let Some(label) = &options.label {
        process.selinux_label = Some(label.clone());
    }
    if let Some(wanted) = options.no_new_privileges {
        process.no_new_privileges = wanted == Flag::Set;
    }
    if !options.capabilities.is_empty() {
        let mut sets = process.capabilities.unwrap_or_default();
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(options.capabilities.iter().cloned());
        }
        process.capabilities = Some(sets);
    }
    Ok(process)
}

/// Sets a variable: programs take the first of two of a name.
pub(crate) fn replace(environment: &mut Vec<String>, variable: &str) {
    let key = variable.split('=').next().unwrap_or(variable);
    environment.retain(|known| known.split('=').next() != Some(key));
    environment.push(variable.to_owned());
}

/// `UID` or `UID:GID`.
fn read_user(text: &str) -> Result<User, Failure> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    match (uid.parse(), gid.parse()) {
        (Ok(uid), Ok(gid)) => Ok(User { uid, gid, ..User::default() }),
        _ => Err(Failure(format!("--user: {text:?} is not UID or UID:GID"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_numbers() {
        assert_eq!(read_user("7:8").unwrap(), User { uid: 7, gid: 8, ..User::default() });
        assert_eq!(read_user("7").unwrap(), User { uid: 7, ..User::default() });
        assert!(read_user("root").is_err() && read_user("").is_err());
    }
}
