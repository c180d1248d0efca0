//! The kernel, one small file a topic: the only place of PID 1 with `unsafe`.

pub(crate) mod alloc;
pub(crate) mod blk;
pub(crate) mod dm;
pub(crate) mod entry;
pub(crate) mod ext4;
pub(crate) mod kexec;
pub(crate) mod loopback;
pub(crate) mod loopdev;
pub(crate) mod memory;
pub(crate) mod netdev;
pub(crate) mod process;
pub(crate) mod reboot;
pub(crate) mod signal;
pub(crate) mod tsc;
pub(crate) mod watchdog;
