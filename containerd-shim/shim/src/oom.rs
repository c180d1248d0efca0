//! Tells that the kernel killed in a container at the memory limit.
//!
//! ```text
//! version 1  an eventfd that the group fires (cgroup-v1/memory.rst, "OOM Control"); also when the group goes away
//! version 2  inotify on memory.events, which counts kills (cgroup-v2.rst)
//! ```

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use hull_runtime::cgroup::{Groups, Version};
use rustix::event::EventfdFlags;
use rustix::fs::{Mode, OFlags, inotify};

/// Watches one container.
#[derive(Debug)]
pub(crate) enum Watch {
    /// Version 1.
    One {
        /// What is fired.
        fired: OwnedFd,
        /// The memory controller's group.
        folder: PathBuf,
    },
    /// Version 2.
    Two {
        /// What is fired.
        fired: OwnedFd,
        /// The group.
        groups: Groups,
        /// Kills that are told already.
        told: u64,
    },
}

impl Watch {
    /// Watches, where the kernel has a memory controller.
    pub(crate) fn new(groups: &Groups) -> Option<Watch> {
        let folder = groups.folder("memory")?.to_path_buf();
        match groups.version {
            Version::One => {
                let fired = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
                let control = folder.join("memory.oom_control");
                let control = rustix::fs::open(&control, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
                let line = format!("{} {}", fired.as_raw_fd(), control.as_raw_fd());
                fs::write(folder.join("cgroup.event_control"), line).ok()?;
                Some(Watch::One { fired, folder })
            }
            Version::Two => {
                let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
                let fired = inotify::init(flags).ok()?;
                inotify::add_watch(&fired, folder.join("memory.events"), inotify::WatchFlags::MODIFY).ok()?;
                Some(Watch::Two { fired, groups: groups.clone(), told: 0 })
            }
        }
    }

    /// For poll(2).
    pub(crate) fn fired(&self) -> &OwnedFd {
        match self {
            Watch::One { fired, .. } | Watch::Two { fired, .. } => fired,
        }
    }

    /// Whether it killed since this was asked the last time.
    pub(crate) fn take(&mut self) -> bool {
        // An eventfd takes 8 bytes; inotify's are more than one.
        let mut bytes = [0; 1024];
        let fired = rustix::io::read(self.fired(), &mut bytes).is_ok();
        match self {
            Watch::One { folder, .. } => fired && folder.exists(),
            Watch::Two { groups, told, .. } => {
                let kills = groups.out_of_memory_kills();
                kills > std::mem::replace(told, kills)
            }
        }
    }
}
