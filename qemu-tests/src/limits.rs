//! Deadlines and sizes of the harness, each with its unit and its reason.

use std::time::Duration;

/// How long a console pattern may take: a boot under emulation on a loaded two-core machine is 5 to 30 s.
pub const EXPECT: Duration = Duration::from_secs(120);

/// How long one command typed at a node's shell may take, uploads of whole releases included.
pub const COMMAND: Duration = Duration::from_secs(120);

/// How long a condition seen from outside (store serves, container answers) may take to become true.
pub const EVENTUALLY: Duration = Duration::from_secs(90);

/// How long a swap may take until the node serves again, failed trial and way back included: the default health
/// deadline (60 s of guest time) and two boots.
pub const SWAP: Duration = Duration::from_secs(300);

/// Pause between two looks at a condition from outside.
pub const POLL: Duration = Duration::from_millis(100);

/// Guest memory, MiB, of an ordinary test machine: what `make run` gives.
pub const MEMORY_MIB: u32 = 256;

/// Machines that run at the same time in one test process: one a core of the smallest machine we support.
pub const MACHINES: usize = 2;

/// The store's client port inside a node.
pub const STORE_PORT: u16 = 2379;

/// The example's port inside a node.
pub const HELLO_PORT: u16 = 8080;

/// How long the machine of a failing test may answer its last question.
pub const LAST_WORDS: Duration = Duration::from_secs(8);

/// How long one HTTP request may take before a test looks again.
pub const HTTP: Duration = Duration::from_secs(10);
