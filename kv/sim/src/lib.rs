//! Whole clusters in one thread: the store's own driver over a simulated network, disk and clock, all from one seed.
//!
//! Nothing here is a second implementation: `hull_kv::driver::Driver` decides, `MemoryDisk` stores, and this crate only
//! chooses what happens when. The same seed gives the same run.
mod check;
mod client;
mod disk;
pub mod history;
mod node;
mod world;

pub use world::{Report, Violation, World};
