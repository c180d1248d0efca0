//! The pure decisions of PID 1: command line, services, supervision, shutdown, health, logs, slots, GPT, releases, DHCP.
//!
//! Nothing here opens a file, reads a clock or draws a random number: time and bytes come in as arguments, decisions go out as
//! values. The shell that performs them is the crate `hull-init`.
//!
//! Invariant: no `unsafe`, no I/O, no clock, no randomness in this crate.
#![forbid(unsafe_code)]

pub mod choice;
pub mod cmdline;
pub mod control;
pub mod dhcp;
pub mod firmware;
pub mod gpt;
pub mod health;
pub mod hop;
mod keys;
pub mod limits;
pub mod log_ring;
pub mod manifest;
pub mod net;
pub mod notify;
pub mod pe;
pub mod release;
pub mod services;
pub mod shutdown;
pub mod slots;
pub mod supervisor;
pub mod verity;
