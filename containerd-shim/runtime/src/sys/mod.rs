//! The runtime's only room with `unsafe`: system calls that no crate wraps, a file a kernel topic.

pub mod bpf;
pub mod clone;
pub mod descriptors;
pub mod mount;
pub mod namespace;
pub mod process;
pub mod program;
pub mod seccomp;
pub mod signals;
