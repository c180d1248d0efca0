//! What the probe asks the processor directly.

pub(crate) mod tsc;
