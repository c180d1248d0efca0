//! Somebody else whose namespaces a container joins.

use std::fs;

/// A process in namespaces of its own, until it is dropped.
pub(crate) struct Neighbour(std::process::Child);

impl Neighbour {
    /// Made by unshare(1) with these options.
    pub(crate) fn new(options: &[&str]) -> Neighbour {
        let child =
            std::process::Command::new("unshare").args(options).args(["--fork", "sleep", "60"]).spawn().unwrap();
        let neighbour = Neighbour(child);
        while neighbour.inner().is_none() {}
        neighbour
    }

    /// The process in the namespaces, once it is there.
    pub(crate) fn inner(&self) -> Option<i32> {
        let pid = self.0.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let child = children.split_ascii_whitespace().next()?.parse().ok()?;
        let program = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        (program.trim() == "sleep").then_some(child)
    }

    pub(crate) fn namespace(&self, file: &str) -> String {
        format!("/proc/{}/ns/{file}", self.inner().unwrap())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        if let Some(pid) = self.inner() {
            let _ = hull_runtime::sys::process::kill(pid, 9);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
