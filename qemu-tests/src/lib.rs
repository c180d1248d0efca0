//! Boots real virtual machines and tests them end to end: consoles, disks, ports, faults.
//!
//! A test builds a [`Machine`], starts it, and speaks to the running [`Vm`] by its serial console, its forwarded
//! ports and its QMP socket. A [`Vm`] ends with the test, and a failing test prints the whole console. Whatever a
//! healthy kernel never says (see [`Alarm`]) fails a test that did not declare it.
//!
//! Nothing here is timed: deadlines are only there so that a silent hang ends in a message.

#![forbid(unsafe_code)]

mod acceleration;
mod alarm;
mod artifacts;
pub mod bench;
mod client;
mod console;
mod disk;
mod images;
mod limits;
mod machine;
mod node;
mod permit;
mod qmp;
mod release;
mod tool;
mod toolbox;
mod vm;

pub use acceleration::Acceleration;
pub use alarm::Alarm;
pub use artifacts::Artifacts;
pub use client::{Etcdctl, Store, http_get, http_send};
pub use disk::Disk;
pub use images::{PATTERN_PATH, build_again, pattern, test_image, test_kernel_and_initramfs};
pub use limits::*;
pub use machine::{Link, Machine};
pub use node::{Node, Slot};
pub use qmp::Qmp;
pub use release::{NEWER, OLDER, ReleaseKind, make_release, shared_releases};
pub use tool::{eventually, long_run, run, same_bytes};
pub use toolbox::{TOOLBOX, layout, node_with_toolbox, node_with_toolbox_on, pack, with_toolbox};
pub use vm::{Shell, Vm};
