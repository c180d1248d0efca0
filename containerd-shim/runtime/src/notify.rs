//! Readiness: what a container's program says by sd_notify(3) reaches who has started the runtime.
//!
//! ```text
//! program ── /run/notify/notify.sock (bound from the container's folder) ──> runtime ── NOTIFY_SOCKET ──> who waits
//! ```

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use hull_oci_core::oci::config::{Mount, Spec};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::failure::{Failure, failed, failing};
use crate::state::Folder;

/// Folder of the socket in the container.
const INSIDE: &str = "/run/notify";

/// Name of the socket in its folder.
const SOCKET: &str = "notify.sock";

/// Longest message in bytes; what systemd reads too (sd_notify(3) has no limit of its own).
const MESSAGE_BYTES: usize = 4096;

/// Who waits for the container, by the variable `NOTIFY_SOCKET`.
pub fn address() -> Option<String> {
    std::env::var("NOTIFY_SOCKET").ok().filter(|address| !address.is_empty())
}

/// Lets the program find the socket: a mount and a variable.
pub fn offer(spec: &mut Spec, folder: &Folder) {
    let Some(process) = spec.process.as_mut() else { return };
    process.env.retain(|variable| !variable.starts_with("NOTIFY_SOCKET="));
    process.env.push(format!("NOTIFY_SOCKET={INSIDE}/{SOCKET}"));
    spec.mounts.push(Mount {
        destination: INSIDE.to_owned(),
        kind: Some("bind".to_owned()),
        source: Some(place(folder).to_string_lossy().into_owned()),
        options: ["bind", "nosuid", "nodev", "noexec", "ro"].map(str::to_owned).to_vec(),
        ..Mount::default()
    });
}

/// Where the socket's folder is on the host.
pub fn place(folder: &Folder) -> PathBuf {
    folder.path.join("notify")
}

/// Makes the folder; whatever user the container's program is may look in.
///
/// # Errors
/// The disk is full.
pub fn make(folder: &Folder) -> Result<(), Failure> {
    let place = place(folder);
    let told = failing(|| format!("create {}", place.display()));
    fs::create_dir(&place).and_then(|()| fs::set_permissions(&place, fs::Permissions::from_mode(0o755))).map_err(told)
}

/// The socket on which the program is heard.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Listens, before the program can speak.
    ///
    /// # Errors
    /// The folder is not there.
    pub fn bind(folder: &Folder) -> Result<Listener, Failure> {
        let place = place(folder);
        let told = |error: std::io::Error| Failure(format!("listen on {}/{SOCKET}: {error}", place.display()));
        // By descriptor, since an address is short (unix(7)).
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::open(&place, flags, Mode::empty()).map_err(|error| told(error.into()))?;
        let path = format!("/proc/self/fd/{}/{SOCKET}", open.as_raw_fd());
        let bound = || -> rustix::io::Result<OwnedFd> {
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
            rustix::net::bind(&socket, &SocketAddrUnix::new(&path)?)?;
            rustix::fs::chmod(&path, Mode::from_raw_mode(0o777))?;
            Ok(socket)
        };
        bound().map(Listener).map_err(|error| told(error.into()))
    }

    /// Waits until the program says that it is ready, and tells so with its process id as the host sees it. Its end ends the waiting.
    ///
    /// # Errors
    /// Nobody listens at `address`.
    pub fn forward(&self, process: BorrowedFd<'_>, pid: i32, address: &str) -> Result<(), Failure> {
        let told = failed("wait until the container is ready");
        loop {
            let mut events = [PollFd::new(&self.0, PollFlags::IN), PollFd::from_borrowed_fd(process, PollFlags::IN)];
            match poll(&mut events, None) {
                Err(Errno::INTR) => continue,
                Err(error) => return Err(told(error)),
                Ok(_) => {}
            }
            if events[0].revents().is_empty() {
                return Ok(());
            }
            let mut bytes = [0; MESSAGE_BYTES];
            let (length, _) = rustix::net::recv(self.0.as_fd(), &mut bytes[..], RecvFlags::empty())
                .map_err(failed("hear what the container says"))?;
            if bytes[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return tell(address, &format!("MAINPID={pid}\nREADY=1\n"));
            }
        }
    }
}

fn tell(address: &str, message: &str) -> Result<(), Failure> {
    let told = |error: Errno| Failure(format!("NOTIFY_SOCKET: send to {address}: {error}"));
    let to = match address.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
        None => SocketAddrUnix::new(address),
    }
    .map_err(told)?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).map_err(told)?;
    rustix::net::sendto(&socket, message.as_bytes(), SendFlags::NOSIGNAL, &to).map_err(told)?;
    Ok(())
}
