//! The kernel command line: one table that makes the parser and docs/cmdline.md.

/// What the command line asks for, defaults filled in.
#[derive(Debug, Clone, Default)]
pub struct Config {}
