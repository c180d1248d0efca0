//! What tells about the runtime itself: usage, version, features, and a bundle to begin with.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use hull_oci_core::oci::features::{NEWEST, features as known};
use hull_oci_core::oci::template::{For, template};
use hull_runtime::Failure;
use hull_runtime::cgroup::Hierarchies;
use lexopt::{Arg, Parser};

use crate::options::{Flag, flag, next, path, unexpected};

pub(crate) const USAGE: &str = "\
hull-oci: the OCI runtime of Hull

hull-oci [--root DIR] [--log FILE] [--log-format text|json] VERB [OPTIONS] [CONTAINER]

  create CONTAINER   make a container      -b, --bundle DIR  --console-socket PATH  --pid-file FILE  --preserve-fds N
  run CONTAINER      make and start it       -f, --config FILE  --no-pivot  --no-new-keyring  (run: -d, --detach  --keep)
  start CONTAINER    let it execute its program
  exec CONTAINER PROGRAM...   execute another program in it
                     -p, --process FILE  -t, --tty  -u, --user UID[:GID]  --cwd DIR  -e, --env KEY=VALUE  -c, --cap CAP
                     -d, --detach  --console-socket PATH  --pid-file FILE  --preserve-fds N  -g, --additional-gids GID
                     --apparmor PROFILE  --process-label LABEL  --no-new-privs  --ignore-paused
  state CONTAINER    its state as JSON
  list               all containers        -f, --format table|json  -q, --quiet
  ps CONTAINER       its processes         -f, --format table|json
  kill CONTAINER [SIGNAL]     send a signal, SIGTERM if none is named   -a, --all
  pause, resume CONTAINER     stop and continue its processes
  update CONTAINER   change its limits     -r, --resources FILE  --memory N  --cpu-quota N  --pids-limit N  and others
  events CONTAINER   what it uses          --stats  --interval SECONDS
  delete CONTAINER   remove it             -f, --force  -r, --regex (the name is a pattern)
  spec               write config.json     -b, --bundle DIR  --rootless
  features           what this runtime knows, as JSON
  plan BUNDLE        the steps that would make a bundle's container; nothing is done
";

/// Writes a bundle's `config.json`.
pub(crate) fn spec(parser: &mut Parser) -> Result<(), Failure> {
    let (mut bundle, mut who) = (PathBuf::from("."), For::Root);
    while let Some(argument) = next(parser)? {
        match argument {
            Arg::Long("bundle") | Arg::Short('b') => bundle = path(parser)?,
            Arg::Long("rootless") => {
                if flag(parser) == Flag::Set {
                    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
                    who = For::User { uid, gid };
                }
            }
            other => return Err(unexpected(&other)),
        }
    }
    let file = bundle.join("config.json");
    let told = |error: std::io::Error| Failure(format!("write {}: {error}", file.display()));
    let text = serde_json::to_string_pretty(&template(who, &Hierarchies::find().facts()))
        .map_err(|error| told(error.into()))?;
    let mut new = OpenOptions::new().write(true).create_new(true).open(&file).map_err(told)?;
    new.write_all(text.as_bytes()).map_err(told)
}

/// Says what this runtime knows.
pub(crate) fn features(parser: &mut Parser) -> Result<(), Failure> {
    if let Some(argument) = next(parser)? {
        return Err(unexpected(&argument));
    }
    let text = serde_json::to_string_pretty(&known(env!("CARGO_PKG_VERSION")));
    crate::log::say!("{}", text.map_err(|error| Failure(error.to_string()))?);
    Ok(())
}

/// Says who this is.
pub(crate) fn version() -> Result<(), Failure> {
    crate::log::say!("hull-oci version {}\nspec: {NEWEST}", env!("CARGO_PKG_VERSION"));
    Ok(())
}
