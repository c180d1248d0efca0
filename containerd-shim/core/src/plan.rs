//! Filled in by the runtime half.
