//! What the launcher decides: declarations, images, what to start and stop, and the plan that turns a runtime specification into steps.
//!
//! Nothing here touches a file, a clock or the kernel; bytes and time come in as arguments.
#![forbid(unsafe_code)]

pub mod again;
pub mod api;
pub mod declaration;
pub mod image;
pub mod layout;
pub mod oci;
pub mod reconcile;
pub mod spec;
