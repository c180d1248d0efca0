//! The launcher's only room with `unsafe`: system calls that no crate wraps, a file a kernel topic. Those of a runtime are the library's.

pub(crate) mod identity;
pub(crate) mod readiness;
pub(crate) mod spawn;
