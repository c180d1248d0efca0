//! What the shim says: to its standard error, which `start` has made the pipe that containerd reads, in the form of its own lines.

use hull_runtime::clock;

use crate::arguments::Detail;

/// Where in the log a line belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log {
    /// How much is said.
    pub(crate) detail: Detail,
}

impl Log {
    /// Says what is not as it should be.
    pub(crate) fn warning(self, text: &str) {
        say("warning", text);
    }

    /// Says what happens, where that is asked for.
    pub(crate) fn debug(self, text: impl FnOnce() -> String) {
        if self.detail == Detail::Debug {
            say("debug", &text());
        }
    }
}

/// A pipe that nobody reads, or that is full, changes nothing about what happens.
fn say(level: &str, text: &str) {
    let line = format!("time={:?} level={level} msg={text:?} runtime=io.containerd.hull.v2\n", clock::now());
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}
