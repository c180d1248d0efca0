//! The shim, alone and under containerd.

mod alone;
mod common;
mod containerd;
