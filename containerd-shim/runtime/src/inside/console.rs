//! A container's terminal: made in its own devpts, its other end handed to whoever asked for it.
//!
//! What is opened is looked at before it is used, and the process's side is had from the terminal itself and not by a path, so that a
//! container cannot have something else opened in its place (CVE-2025-52565).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use hull_oci_core::oci::mounts::Links;
use hull_oci_core::oci::plan::{Plan, Terminal};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::tree::{Shape, Tree, clone_of, put};
use crate::exchange;
use crate::sys::descriptors;
use crate::sys::mount::Reach;

/// `/dev/ptmx`, and the one in each devpts.
const PTMX: (u32, u32) = (5, 2);

/// `DEVPTS_SUPER_MAGIC`, linux/magic.h.
const DEVPTS: u64 = 0x1cd1;

/// Where the other end of a terminal goes.
pub(crate) enum Console {
    /// There is no terminal.
    None,
    /// To who listens there.
    Socket(OwnedFd),
}

/// Makes a terminal and binds it to `/dev/console`. Returns the process's side.
pub(super) fn make(tree: &mut Tree, console: &Console, plan: &Plan) -> io::Result<OwnedFd> {
    let ptmx = tree.resolve(Path::new("/dev/pts/ptmx"), OFlags::RDWR | OFlags::NOCTTY)?;
    let ours = open_pair(&ptmx, console, plan.terminal)?;
    give(plan, ours.as_fd());
    // A link there would have it cover another file, one of /proc say (CVE-2025-52565).
    let place = tree.make("/dev/console", Shape::File, Links::Covered)?;
    put(clone_of(ours.as_fd(), Reach::One)?.as_fd(), place.as_fd())?;
    Ok(ours)
}

/// Makes a terminal for a process that joins a container, whose root is the root already.
pub(crate) fn open_in_root(console: &Console, terminal: Terminal) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let how = ResolveFlags::NO_MAGICLINKS;
    let ptmx = rustix::fs::openat2(rustix::fs::CWD, "/dev/pts/ptmx", flags, Mode::empty(), how)?;
    open_pair(&ptmx, console, terminal)
}

fn open_pair(ptmx: &OwnedFd, console: &Console, terminal: Terminal) -> io::Result<OwnedFd> {
    let stat = fstat(ptmx)?;
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let terminals = rustix::fs::fstatfs(ptmx)?.f_type as u64 == DEVPTS;
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || device != PTMX || !terminals {
        return Err(io::Error::other("/dev/pts/ptmx of the container makes no terminals"));
    }
    rustix::pty::unlockpt(ptmx)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = rustix::pty::ioctl_tiocgptpeer(ptmx, flags)?;
    if let Terminal::Wanted(Some((rows, columns))) = terminal {
        rustix::termios::tcsetwinsize(ptmx, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    }
    if let Console::Socket(socket) = console {
        exchange::send_descriptor(socket.as_fd(), ptmx.as_fd(), b"/dev/pts/ptmx")?;
    }
    Ok(ours)
}

/// The terminal belongs to the user that the program runs as. Where that is nobody here it stays as it is.
fn give(plan: &Plan, ours: BorrowedFd<'_>) {
    if let Some(identity) = &plan.identity {
        let _ = rustix::fs::fchown(ours, Some(rustix::fs::Uid::from_raw(identity.user.uid)), None);
    }
}

/// Makes it the controlling terminal and the standard streams of this process, which leads a session.
pub(crate) fn become_terminal(terminal: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::ioctl_tiocsctty(terminal)?;
    (0..3).try_for_each(|stream| descriptors::place(terminal, stream))
}
