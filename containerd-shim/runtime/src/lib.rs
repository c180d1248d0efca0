//! The container runtime as a library: performs the plans of `hull_oci_core::oci`. Its faces are programs of their own (`hull-oci`).
//!
//! ```text
//! create  state folder, control groups, clone3 ─┐        join  the same for a process that enters a container
//!                                               v
//! inside  namespaces, mounts, devices, root     identity  user, capabilities, filter, program
//! ```
//! Everything that touches the kernel by a raw call is in `sys`. Callers have one thread: the new process is a copy of theirs.

mod among;
pub mod cgroup;
pub mod clock;
pub mod create;
mod devices;
pub mod exchange;
pub mod facts;
pub mod failure;
pub mod guard;
pub mod hooks;
mod identity;
mod inside;
pub mod join;
pub mod life;
mod net_devices;
pub mod notify;
pub mod state;
pub mod sys;
pub mod terminal;
pub mod update;

pub use failure::Failure;
