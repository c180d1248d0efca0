//! The launcher's only room with `unsafe`: system calls that no crate wraps, a file a kernel topic.

pub(crate) mod clone;
pub(crate) mod identity;
pub(crate) mod mount;
pub(crate) mod program;
pub(crate) mod readiness;
