//! The kernel, one small file a topic: the only place of PID 1 with `unsafe`.
//!
//! Each engineer adds `pub(crate) mod topic;` here, one line a topic.
