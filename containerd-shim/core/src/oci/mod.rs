//! The OCI runtime specification, whole: `config.json` as it is read, and the plan that makes its container.
//!
//! ```text
//! bytes --read--> config::Spec --plan(spec, facts of the host)--> Plan { control group, namespaces, steps, program }
//! ```
//! A plan can be printed and tested without a kernel; the crate `hull-runtime` performs it. What is not honoured is refused here, by the
//! name of its field, before anything is made. Where a new field goes: its type in `config`, its check and its step in `plan`.

pub mod bpf;
pub mod capability;
pub mod cgroup;
mod cgroup_v1;
mod cgroup_v2;
pub mod config;
mod config_linux;
pub mod devices;
pub mod devices_v1;
pub mod features;
pub mod id;
pub mod memory_policy;
pub mod mounts;
pub mod namespaces;
pub mod net_devices;
pub mod plan;
pub mod process;
pub mod read;
pub mod refused;
pub mod seccomp;
mod show;
pub mod template;

pub use refused::Refused;
