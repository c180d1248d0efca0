//! Where the instructions of a start went, as far as the kernel knows: each cgroup's share, and the log with its times.

use std::fs;
use std::path::Path;

/// Where the cgroups are, on every system measured.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Says all of it, one name and value at a time.
pub(crate) fn say(mut say: impl FnMut(&str, &str)) {
    groups(Path::new(CGROUPS), &mut say);
    for line in crate::kernel::log() {
        say("log", &line);
    }
}

fn groups(folder: &Path, say: &mut impl FnMut(&str, &str)) {
    if let Ok(usage) = fs::read_to_string(folder.join("cpu.stat")) {
        let usage: Vec<_> = usage.lines().take(3).collect();
        say("cgroup", &format!("{} {}", folder.display(), usage.join(" ")));
    }
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        groups(&entry.path(), say);
    }
}
