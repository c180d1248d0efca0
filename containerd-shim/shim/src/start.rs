//! `start`: makes a shim, or finds the one of the container's pod, and says where it listens. Nothing else is said on either stream:
//! containerd reads both as the answer.
//!
//! ```text
//! start ── socket, listens ── clone ─┬─ oom score, group, address file ── address
//!                                    └─ session, streams ── executes itself protected, without the verb: the shim
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_runtime::cgroup::{Groups, Hierarchies};
use hull_runtime::failure::{failed, failing};
use hull_runtime::sys::clone::{self, Cloned, Parent};
use hull_runtime::sys::descriptors;
use hull_runtime::{Failure, guard};
use prost::Message;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::arguments::{Arguments, Detail};
use crate::messages::Any;
use crate::serve::LISTENER;
use crate::service;

/// Where sockets are: short, since an address is (unix(7)). The folder is containerd's own.
const SOCKETS: &str = "/run/containerd/s";

/// Annotations that name what shares a shim, as containerd's own shim has them.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// From this version on, which the daemon names, the answer is a JSON object.
const WITH_JSON: u32 = 3;

/// How many bytes of options are read at most.
const OPTIONS_MAX: u64 = 1 << 20;

/// Connections that wait to be accepted: a daemon has one or two.
const BACKLOG: i32 = 64;

/// The oom score of a process that is always killed first (proc_pid_oom_score_adj(5)).
const OOM_SCORE_MAX: i32 = 1000;

/// Of `config.json`, what counts here.
#[derive(Deserialize)]
struct Annotated {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Makes a shim and prints its address.
///
/// # Errors
/// Says what went wrong; then there is no new shim.
pub(crate) fn start(arguments: &Arguments) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    let _ = std::io::stdin().take(OPTIONS_MAX).read_to_end(&mut bytes);
    // Nothing, or what this shim does not know, is no reason not to start: Create says it again.
    let options = Any::decode(&*bytes).ok().and_then(|any| service::options(Some(&any)).ok()).unwrap_or_default();
    let path = socket_path(&arguments.address, &arguments.namespace, &group(arguments)?);
    if connect(&path).is_err() {
        let listener = listen(&path)?;
        if let Err(failure) = launch(arguments, &listener, &options.shim_cgroup) {
            let _ = fs::remove_file(&path);
            return Err(failure);
        }
    }
    let address = format!("unix://{}", path.display());
    fs::write("address", &address).map_err(failed("write the file address of the bundle"))?;
    let version = std::env::var("MAX_SHIM_VERSION").ok().and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let answer = match version >= WITH_JSON {
        true => serde_json::json!({"version": WITH_JSON, "address": address, "protocol": "ttrpc"}).to_string(),
        false => address,
    };
    std::io::stdout().write_all(answer.as_bytes()).map_err(failed("write the answer"))
}

/// What shares the shim: the pod, or only the container.
fn group(arguments: &Arguments) -> Result<String, Failure> {
    let file = fs::File::open("config.json").map_err(failed("open the bundle's config.json"))?;
    let annotated: Annotated = serde_json::from_reader(std::io::BufReader::new(file)).map_err(failed("config.json"))?;
    let named = GROUPS.iter().find_map(|name| annotated.annotations.get(*name));
    Ok(named.cloned().unwrap_or_else(|| arguments.id.clone()))
}

/// The same for the same daemon, namespace and group.
fn socket_path(address: &str, namespace: &str, group: &str) -> PathBuf {
    let mut digest = Sha256::new();
    for part in [address, "/", namespace, "/", group] {
        digest.update(part.as_bytes());
    }
    let name: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    // Of another kind than containerd's own shim, should an id move from one runtime to the other.
    Path::new(SOCKETS).join(format!("hull-{}", &name[..40]))
}

fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Listens. A socket that nobody serves is one of a shim that was killed.
fn listen(path: &Path) -> Result<OwnedFd, Failure> {
    let told = |error: Errno| Failure(format!("listen on {}: {error}", path.display()));
    fs::create_dir_all(SOCKETS).map_err(failing(|| format!("create {SOCKETS}")))?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Failure(format!("remove {}: {error}", path.display())));
        }
        _ => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(told)?;
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = SocketAddrUnix::new(path).and_then(|address| rustix::net::bind(&socket, &address));
    rustix::process::umask(before);
    bound.and_then(|()| rustix::net::listen(&socket, BACKLOG)).map_err(told)?;
    Ok(socket)
}

/// Makes the process that will serve.
fn launch(arguments: &Arguments, listener: &OwnedFd, group: &str) -> Result<(), Failure> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failed("make a pipe"))?;
    let child = match clone::clone(None, 0, Parent::Caller).map_err(failed("make the shim's process"))? {
        Cloned::Child => {
            let Failure(cause) = become_shim(arguments, listener);
            let _ = rustix::io::write(&theirs, cause.as_bytes());
            clone::leave(1)
        }
        Cloned::Parent(child) => child,
    };
    drop(theirs);
    let pid = child.pid.as_raw_nonzero().get();
    // Its end closes at exec: without a word all is well.
    let mut cause = String::new();
    let _ = fs::File::from(ours).read_to_string(&mut cause);
    if !cause.is_empty() {
        return Err(Failure(cause));
    }
    let settled = settle(pid, group);
    if settled.is_err() {
        let _ = hull_runtime::sys::signals::send(child.pidfd.as_fd(), libc::SIGKILL);
    }
    settled
}

/// Puts the shim into its control group, and makes it the more likely victim than the daemon when memory runs out.
fn settle(pid: i32, group: &str) -> Result<(), Failure> {
    if !group.is_empty() {
        Groups::at(&Hierarchies::find(), group)
            .join(pid)
            .map_err(|Failure(cause)| Failure(format!("options: shim_cgroup: {cause}")))?;
    }
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    let score = fs::read_to_string(format!("/proc/{parent}/oom_score_adj")).unwrap_or_default();
    let score = (score.trim().parse::<i32>().unwrap_or(0) + 1).min(OOM_SCORE_MAX);
    // Where it may not be lowered it is higher already.
    let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string());
    fs::write("shim.pid", pid.to_string()).map_err(failed("write the file shim.pid of the bundle"))
}

/// The process that will serve: away from its caller's session and streams, then from a program that containers cannot reach.
fn become_shim(arguments: &Arguments, listener: &OwnedFd) -> Failure {
    let prepared = || -> Result<(), Failure> {
        rustix::process::setsid().map_err(failed("make a session"))?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed("open /dev/null"))?;
        let log = log();
        let streams = [null.as_fd(), null.as_fd(), log.as_ref().unwrap_or(&null).as_fd()];
        for (number, stream) in streams.into_iter().enumerate() {
            descriptors::place(stream, number as i32).map_err(failed("replace a stream"))?;
        }
        if listener.as_raw_fd() == LISTENER {
            descriptors::keep_open(LISTENER).map_err(failed("hand over the socket"))?;
        } else {
            descriptors::place(listener.as_fd(), LISTENER).map_err(failed("hand over the socket"))?;
        }
        rustix::process::chdir("/").map_err(failed("change to /"))
    };
    if let Err(failure) = prepared() {
        return failure;
    }
    let own = std::env::args_os().next().unwrap_or_else(|| "containerd-shim-hull-v2".into());
    let mut words = vec![own];
    words.extend(
        ["-namespace", &arguments.namespace, "-id", &arguments.id, "-address", &arguments.address].map(Into::into),
    );
    words.extend(["-publish-binary".into(), arguments.publisher.clone().into_os_string()]);
    if arguments.detail == Detail::Debug {
        words.push("-debug".into());
    }
    guard::become_program(words)
}

/// The pipe that containerd reads the log from. Both ends are held, so that it does not break when the daemon is restarted.
fn log() -> Option<OwnedFd> {
    let stat = rustix::fs::stat("log").ok()?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fifo = FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
    fifo.then(|| rustix::fs::open("log", flags, Mode::empty()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_fits_and_is_another_one_for_another_daemon_namespace_or_group() {
        let path = socket_path("/run/containerd/containerd.sock", "k8s.io", "a");
        assert!(SocketAddrUnix::new(&path).is_ok());
        assert_eq!(path, socket_path("/run/containerd/containerd.sock", "k8s.io", "a"));
        for other in [("/x", "k8s.io", "a"), ("/run/containerd/containerd.sock", "moby", "a")] {
            assert_ne!(path, socket_path(other.0, other.1, other.2));
        }
        assert_ne!(path, socket_path("/run/containerd/containerd.sock", "k8s.io", "b"));
    }
}
